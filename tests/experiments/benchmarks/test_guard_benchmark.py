import time

import pytest
import torch

from experiments.benchmarks import guard
from experiments.benchmarks.guard import Unguarded, main, measure
from trg_pyg.training.learner import Learner

SMALL = {"teacher": "resnet8", "student": "resnet8", "batch_size": 4, "num_classes": 3, "train_images": 200}


def test_a_row_for_every_method(capsys):
    main(["KD", "CRD"], steps=2, **SMALL)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["method", "KD", "CRD"]
    assert all(float(cell) > 0 for row in rows[1:] for cell in row[1:])


@pytest.mark.parametrize(("cpu_time", "asked"), [(False, "perf_counter"), (True, "process_time")])
def test_the_clock_is_the_one_that_was_asked_for(monkeypatch, cpu_time, asked):
    seen = []
    monkeypatch.setattr(
        guard, "in_turn", lambda works, *_, clock, **__: seen.append(clock) or {key: [1.0] for key in works}
    )
    measure(["KD"], steps=1, cpu_time=cpu_time, **SMALL)
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
    measure(["KD"], steps=1, **SMALL)
    assert seen == {("Learner", "any"), ("Unguarded", "any"), ("Learner", "deterministic")}
