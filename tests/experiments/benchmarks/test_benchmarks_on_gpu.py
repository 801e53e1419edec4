"""The benchmarks on a GPU, at sizes that show that they run."""

import pytest
import torch

from experiments.benchmarks import epoch, neighbours, relations, step
from trg_pyg.data.base import ImageSet

pytestmark = pytest.mark.gpu


def test_neighbours_and_relations():
    rows = neighbours.measure([4096], repeats=2, device="cuda")
    assert {row.method for row in rows if row.ms} >= {"product", "trg_pyg", "cdist + topk"}
    rows = relations.measure([4096], repeats=2, device="cuda")
    assert {row.part for row in rows} == set(relations.PARTS)
    assert all(row.ms > 0 for row in rows)


def test_steps_plain_and_lowered():
    rows = step.measure(["KD", "TRG"], steps=2, lowered=True, device="cuda")
    assert [(row.method, row.networks) for row in rows] == [
        (method, networks) for networks in ("plain", "lowered") for method in ("floor", "KD", "TRG", "KD + TRG")
    ]


def test_an_epoch():
    pixels = torch.randint(256, (64 * 12, 3, 32, 32), dtype=torch.uint8)
    train = ImageSet(pixels, torch.arange(len(pixels)) % 100)
    ours, theirs = epoch.measure(train, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), 100, chunk=2, lowered=True, device="cuda")
    assert ours.images_per_second > 0
    assert theirs.times_as_fast == 1
