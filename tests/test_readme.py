"""The README is short, begins with its two commands, and its example of the library does what it says."""

import torch
import yaml

import trg_pyg
from tests.page_commands import ROOT, commands, fenced

README = (ROOT / "README.md").read_text()


def test_the_first_two_commands_set_up_run_and_test():
    assert commands(README)[:2] == ["make run", "make test"]


def test_it_can_be_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 100


def test_the_version_is_that_of_the_citation_and_of_the_newest_changes():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = (ROOT / "CHANGELOG.md").read_text().partition("\n## ")[2].split()[0]
    assert citation["version"] == newest == trg_pyg.__version__


def test_the_library_example_is_short_and_gives_the_student_a_gradient():
    (example,) = fenced(README, "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    scope: dict = {}
    torch.manual_seed(0)
    exec(example, scope)
    gradient = scope["student_map"].grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    assert scope["teacher_graph"].num_nodes == 1024
