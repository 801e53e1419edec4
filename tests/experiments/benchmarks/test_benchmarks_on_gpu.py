"""The benchmarks on a GPU, at sizes that show that they run."""

import pytest

from experiments.benchmarks import decoding, epoch, neighbours, relations, step

pytestmark = pytest.mark.gpu


def test_neighbours_and_relations():
    rows = neighbours.measure((4096,), repeats=2, device="cuda")
    assert {row.method for row in rows if row.ms} >= {"product", "trg_pyg", "cdist + topk"}
    rows = relations.measure((4096,), repeats=2, device="cuda")
    assert {row.part for row in rows} == set(relations.PARTS)
    assert all(row.ms > 0 for row in rows)


def test_steps_plain_and_lowered():
    rows = step.measure(("KD", "TRG"), steps=2, lowered=True, device="cuda")
    assert [(row.method, row.networks) for row in rows] == [
        (method, networks) for networks in ("plain", "lowered") for method in ("floor", "KD", "TRG", "KD + TRG")
    ]


def test_decoding():
    rows = decoding.measure(16, sizes=(64,), batch_size=8, repeats=1, device="cuda")
    assert [row.side for row in rows] == list(decoding.EQUAL)


def test_an_epoch():
    ours, theirs = epoch.measure(64 * 12, chunk=2, device="cuda")
    assert ours.images_per_second > 0
    assert theirs.times_as_fast == 1
