import math

from experiments.benchmarks.stored import measure


def test_a_row_for_every_side():
    rows = measure(("resnet8-resnet8",), images=80, steps=2)
    assert [row.side for row in rows][:4] == ["student", "KD", "KD, first run", "KD, stored"]
    assert rows[0].over_student == rows[1].over_unstored == rows[3].over_stored_KD == 1
    assert all(math.isfinite(row.over_student) for row in rows)
