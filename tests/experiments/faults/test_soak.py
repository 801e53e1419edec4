import random

import pytest

from experiments.faults.soak import BOUND_MIB, SoakReport, soak, summary


def samples(growth, seconds=3600, warm_up=0.0):
    """Resident memory with noise and peaks, growing by so many MiB an hour, and at the beginning by ``warm_up``."""
    draw = random.Random(0)
    return [
        (
            float(second),
            400 + growth * second / 3600 + warm_up * min(1, second / 300) + draw.random() + 30 * (second % 97 == 0),
        )
        for second in range(seconds)
    ]


def test_a_leak_is_not_flat():
    found = summary("TRG", samples(2 * BOUND_MIB), 75)
    assert not found.is_flat
    assert found.slope == pytest.approx(2 * BOUND_MIB, rel=0.05)
    assert found.growth == pytest.approx(2 * BOUND_MIB * 0.72, rel=0.1)  # without the warm-up and half of each window


def test_memory_of_the_warm_up_is_none():
    found = summary("TRG", samples(0, warm_up=100), 75)
    assert found.is_flat
    assert abs(found.slope) < 1
    assert found.mib == pytest.approx(500.5, abs=1)


def test_a_training_that_did_not_end_as_it_was_asked_to_is_not_flat():
    flat, broken = summary("TRG", samples(0), 75), summary("CRD", samples(0), 1)
    assert not broken.is_flat
    assert SoakReport([flat]).is_flat
    assert not SoakReport([flat, broken]).is_flat
    assert "no, exit code 1" in str(SoakReport([flat, broken]))


@pytest.mark.slow
def test_trainings_are_watched(tmp_path):
    report = soak(0.5, tmp_path)
    assert [each.recipe for each in report.soaks] == ["TRG", "CRD"]
    assert [each.exit_code for each in report.soaks] == [75, 75]
    assert all(each.mib > 50 for each in report.soaks)
    assert (tmp_path / "soak.md").exists()
    assert len((tmp_path / "soak.jsonl").read_text().splitlines()) == 2
