import time
from dataclasses import astuple

import pytest
import torch

from experiments.benchmarks import guard
from experiments.benchmarks.guard import CHECKS, Unguarded, measure, unchecked
from trg_pyg import batch
from trg_pyg.errors import InputError
from trg_pyg.losses import LogitKD
from trg_pyg.losses import base as losses_base
from trg_pyg.relations import base as relations_base
from trg_pyg.tokens import normalize
from trg_pyg.training.learner import Learner

SMALL = {"teacher": "resnet8", "student": "resnet8", "batch_size": 4, "num_classes": 3, "train_images": 200}


def test_a_row_for_every_method():
    rows = [astuple(row) for row in measure(("KD", "CRD"), steps=2, **SMALL)]
    assert [method for method, *_ in rows] == ["KD", "CRD"]
    assert all(figure > 0 for _, *figures in rows for figure in figures)


@pytest.mark.parametrize(("cpu_time", "asked"), [(False, "perf_counter"), (True, "process_time")])
def test_the_clock_is_the_one_that_was_asked_for(monkeypatch, cpu_time, asked):
    seen = []
    monkeypatch.setattr(
        guard, "in_turn", lambda works, *_, clock, **__: seen.append(clock) or {key: [1.0] for key in works}
    )
    measure(("KD",), steps=1, cpu_time=cpu_time, **SMALL)
    assert seen == [getattr(time, asked)]


def test_each_way_is_what_it_says(monkeypatch):
    seen = set()

    def look(self):
        algorithms = "deterministic" if torch.are_deterministic_algorithms_enabled() else "any"
        seen.add((type(self).__name__, algorithms))
        for name in ("_keep_buffers", "_are_finite", "_gradient_norm"):
            assert (getattr(type(self), name) is getattr(Learner, name)) == (type(self) is Learner)
        update(self)
        assert bool(self._silence._range) == (type(self) is Learner)
        assert (self._buffers is None) == (type(self) is Unguarded)

    update = Learner.update
    monkeypatch.setattr(guard.Learner, "update", look)
    measure(("KD",), steps=1, **SMALL)
    assert seen == {("Learner", "any"), ("Unguarded", "any"), ("Learner", "deterministic")}


def test_unchecked_leaves_every_check_out_and_puts_it_back():
    teacher, student = torch.zeros(2, 3), torch.zeros(2, 4)
    with pytest.raises(InputError):
        LogitKD()(student, teacher)
    with unchecked():
        assert LogitKD.forward.__globals__["check_logits"](student, teacher) is None
        with pytest.raises(RuntimeError):  # what a check would have said comes from PyTorch then
            LogitKD()(student, teacher)
    with pytest.raises(InputError):
        LogitKD()(student, teacher)


def test_every_check_of_inputs_is_known():
    defined = {
        name
        for module in (batch, losses_base, relations_base, normalize)
        for name, value in vars(module).items()
        if name.startswith("check_") and getattr(value, "__module__", "") == module.__name__
    }
    assert defined == set(CHECKS)
