import re
import shlex
from pathlib import Path

import pytest
import torch

from experiments.config import read_choices
from trg_pyg.distillers import SP

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run_commands():
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("python experiments/run.py")]


def test_the_library_example_runs_and_gives_the_student_a_gradient():
    example, _ = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    scope: dict = {}
    torch.manual_seed(0)
    exec(example, scope)
    gradient = scope["student_map"].grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    assert scope["teacher_graph"].num_nodes == 1024


def test_the_composition_runs_and_is_sp():
    _, example = blocks("python")
    scope: dict = {"torch": torch}
    exec(example, scope)
    gradient = scope["student"].model.conv1.weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    infos = scope["student"].describe(32), scope["teacher"].describe(32)
    outputs = scope["student"](scope["images"]), scope["teacher"](scope["images"])
    step = scope["Step"](scope["labels"], 0.0, torch.Generator())
    assert torch.allclose(SP(*infos)(*outputs, step).parts["similarity"], scope["sp"](*outputs, step))


@pytest.mark.parametrize("command", run_commands())
def test_every_command_is_one_that_run_py_understands(command):
    choices = read_choices(shlex.split(command, comments=True)[2:])
    assert len(choices.methods) >= 1


def test_there_are_commands_to_check():
    assert len(run_commands()) >= 3


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make (\w+)", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"experiments/[\w/.-]+\.(?:py|yaml)", README))
    assert len(named) >= 2
    assert [name for name in named if not (ROOT / name).exists()] == []
