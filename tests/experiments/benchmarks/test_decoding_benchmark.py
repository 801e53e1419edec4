import time
from multiprocessing import Process

import pytest
import torch

from experiments.benchmarks import decoding
from experiments.benchmarks.decoding import EQUAL, TORCHVISION, cpu_seconds, measure, pipelines, write_photographs
from trg_pyg.data.base import IMAGENET_MEAN, IMAGENET_STD
from trg_pyg.models.normalize import Normalize

SMALL = {"images": 4, "width": 60, "height": 45, "sizes": (8,), "batch_size": 2, "workers": 0, "repeats": 1}


def test_a_row_for_every_side():
    rows = measure(**SMALL)
    assert [row.side for row in rows] == list(EQUAL)
    assert (rows[1].times_as_fast, rows[1].rest_ms, rows[1].with_rest) == (1, 0, 1)
    assert all(row.ms > 0 for row in rows)
    assert [row.rest_ms > 0 for row in rows] == [False, False, True, True, True, True, True]


def test_the_numbers_of_a_row(monkeypatch):
    taken = {name: [0.4, 0.8] for name in EQUAL} | {TORCHVISION: [0.8, 1.6], "rest": [2.0, 2.0]}
    monkeypatch.setattr(decoding, "in_turn", lambda *_, **__: dict(taken))
    row = measure(**SMALL)[-1]
    # The rest: 2 s for ten batches of 2, hence 0.1 s an image and 0.4 s for the 4 of an epoch.
    assert (row.ms, row.times_as_fast, row.rest_ms) == pytest.approx((150, 2, 100))
    assert row.with_rest == pytest.approx((0.8 / 0.8 + 1.6 / 1.2) / 2)


def test_torchvisions_pipelines_that_are_called_equal_are(tmp_path):
    names = write_photographs(tmp_path, 4, 60, 45)
    seen = {}
    for name, loader in pipelines(tmp_path, names, 16, 4, 0).items():
        if not name.startswith("trg_pyg"):  # it draws other boxes; its tests compare it with torchvision's
            torch.manual_seed(0)
            seen[name] = next(iter(loader))[0]
    floats = Normalize(IMAGENET_MEAN, IMAGENET_STD)(seen["torchvision, uint8"].float() / 255)
    torch.testing.assert_close(seen[TORCHVISION], floats)
    for name in ("the same by decode_jpeg", "the same by decode_jpeg, resized by PyTorch"):
        assert torch.equal(seen[name], seen["torchvision, uint8"]) == EQUAL[name]
        assert (seen[name].int() - seen["torchvision, uint8"].int()).abs().max() <= 1


def spin(seconds):
    while time.process_time() < seconds:
        pass
    time.sleep(60)  # until it is ended


def test_the_time_of_living_workers_counts():
    before, worker = cpu_seconds(), Process(target=spin, args=(1,))
    worker.start()
    until = time.monotonic() + 50
    while (taken := cpu_seconds() - before) < 0.5 and time.monotonic() < until:
        time.sleep(0.1)
    worker.kill()
    worker.join()
    assert taken >= 0.5
