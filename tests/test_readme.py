import re
import shlex
from pathlib import Path

import pytest
import torch

from experiments.config import read_choices

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run_commands():
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("python experiments/run.py")]


def test_the_library_example_runs_and_gives_the_student_a_gradient():
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    scope: dict = {}
    torch.manual_seed(0)
    exec(example, scope)
    gradient = scope["student_map"].grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    assert scope["teacher_graph"].num_nodes == 1024


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
