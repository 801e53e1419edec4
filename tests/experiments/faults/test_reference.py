import shutil

import pytest

from experiments.faults import reference as module
from experiments.faults.reference import reference


class Done:
    """A process that has ended."""

    def __init__(self, code):
        self.code, self.seconds = code, 2.5

    def wait(self):
        return self.code

    def printed(self):
        return "what it printed"


def train(finished, monkeypatch, code=0, spoil=None):
    """Let both processes leave a copy of a finished run."""
    calls = []

    def begin(arguments, log):
        calls.append(log)
        tree = shutil.copytree(finished, log.parent / "runs")
        if spoil is not None and len(calls) == 2:
            spoil(tree)
        return Done(code)

    monkeypatch.setattr(module, "start", begin)
    monkeypatch.setattr(module, "start_anew", begin)
    return calls


def test_an_undisturbed_run_is_made_once_in_both_kinds_of_processes(finished, tmp_path, monkeypatch):
    calls = train(finished, monkeypatch)
    first = reference("CRD", tmp_path)
    assert len(calls) == 2
    assert reference("CRD", tmp_path) == first
    assert len(calls) == 2
    assert (first.seconds, first.seconds_anew) == (2.5, 2.5)
    assert first.tree.is_dir()


def test_undisturbed_runs_that_differ_are_nothing_to_compare_with(finished, tmp_path, monkeypatch):
    train(finished, monkeypatch, spoil=lambda tree: next(tree.rglob("metrics.jsonl")).write_text(""))
    with pytest.raises(RuntimeError, match="two undisturbed runs differ"):
        reference("CRD", tmp_path)


def test_an_undisturbed_run_that_fails_is_said(finished, tmp_path, monkeypatch):
    train(finished, monkeypatch, code=1)
    with pytest.raises(RuntimeError, match="ended with exit code 1: what it printed"):
        reference("CRD", tmp_path)
