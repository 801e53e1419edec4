import pytest

from experiments.benchmarks.start import measure


@pytest.mark.slow
def test_the_parts_follow_one_another():
    rows = measure("--train.epochs 1 --teacher.train.epochs 1 --methods KD", repeats=1)
    ends = [row.since_start for row in rows]
    assert ends == sorted(ends)
    assert sum(row.seconds for row in rows) == pytest.approx(ends[-1])
    assert [row.part for row in rows][-1] == "to the table"
