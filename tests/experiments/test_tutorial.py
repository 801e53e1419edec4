"""The tutorial's text and code agree, its examples run, and its method becomes a row from inside and outside."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.tutorial.mutual_rank import MutualKNN, MutualRank, SoftRank
from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.distillers import Relational
from trg_pyg.divergences import KL
from trg_pyg.errors import InputError
from trg_pyg.models import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes import Tokens
from trg_pyg.relations import Distance
from trg_pyg.step import Step

FOLDER = Path(__file__).parents[2] / "experiments" / "tutorial"
TEXT = (FOLDER / "README.md").read_text()
CODE = (FOLDER / "mutual_rank.py").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_text_shows_the_code_as_it_is():
    shown = [block for block in BLOCKS if "assert" not in block]
    assert len(shown) == 3
    assert [block for block in shown if block not in CODE] == []


def test_the_example_in_the_text_runs():
    (example,) = [block for block in BLOCKS if "assert" in block]
    exec(example, {"MutualKNN": MutualKNN, "torch": torch})


def test_the_command_in_the_text_is_one_that_trg_run_understands():
    (command,) = re.findall(r"trg run [^\n`]*", TEXT)
    choices = read_choices(shlex.split(command)[2:])
    assert [method.name for method in choices.methods] == ["KD", "MutualRank+KD"]


def test_edges_are_mutual():
    x = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0))
    edges = set(map(tuple, MutualKNN(3)(x).edge_index.T.tolist()))
    assert edges == {(j, i) for i, j in edges}
    assert 0 < len(edges) < 90


def test_ranks_count_the_nearer_neighbours():
    # Node 0 hears nodes at distance 1, 3 and 2: at a low temperature 0, 2 and 1 others are nearer, and half of itself.
    x = torch.tensor([[0.0], [1.0], [3.0], [-2.0]])
    graph = MutualKNN(3)(x[None])
    ranks = SoftRank(Distance(), 1e-3)(graph)
    into_first = graph.edge_index[1] == 0
    by_source = dict(zip(graph.edge_index[0, into_first].tolist(), ranks[into_first].tolist(), strict=True))
    assert by_source == pytest.approx({1: 0.5 / 3, 3: 1.5 / 3, 2: 2.5 / 3})


def test_the_student_receives_a_gradient_and_what_cannot_work_is_refused():
    network = NetworkInfo(3, (FeatureInfo("layer3", "map", 4, (4, 4)),))
    student = Outputs(torch.randn(2, 3, requires_grad=True), (torch.randn(2, 4, 4, 4, requires_grad=True),))
    teacher = Outputs(torch.randn(2, 3), (torch.randn(2, 4, 4, 4),))
    losses = MutualRank(network, network)(student, teacher, Step(torch.tensor([0, 1]), 0.5, torch.Generator()))
    losses.total.backward()
    assert set(losses.parts) == {"ce", "order"}
    assert student.features[0].grad.abs().sum() > 0
    with pytest.raises(InputError, match="SoftRank: its values are no distribution"):
        Relational(Tokens(network, network), MutualKNN(3), SoftRank(Distance(), 1.0), KL())


def test_a_row_of_the_table_from_one_file_outside_the_package(small, tmp_path, monkeypatch, capsys):
    """The file is copied beside a program of a user, who has the package and nothing of ours registered."""
    (tmp_path / "my_methods.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--methods", "KD", "my_methods.MutualRank", "--method_options", "{my_methods.MutualRank: {k: 5}}"]
    assert main([*small, *options, "--seeds", "0", "1", "--quiet"]) == 0
    table = capsys.readouterr().out
    row = next(line for line in table.splitlines() if line.startswith("| MutualRank"))
    assert re.search(r"\d+\.\d\d ± \d+\.\d\d", row)
    assert "ms/step" in table
    (config,) = (tmp_path / "runs").rglob("MutualRank-*/seed0/config.yaml")
    assert "my_methods.MutualRank" in config.read_text()


def test_the_program_itself_finds_it_too(small, tmp_path):
    """As the text says it, in a process of its own."""
    command = [sys.executable, "experiments/run.py", *small, "--quiet", "--train.epochs=1"]
    command += ["--methods", "experiments.tutorial.mutual_rank.MutualRank"]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| MutualRank" in done.stdout
