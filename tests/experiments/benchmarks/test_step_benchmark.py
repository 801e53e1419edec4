from experiments.benchmarks.step import measure


def test_a_row_for_the_floor_and_for_every_method():
    rows = measure(("KD", "TRG"), teacher="resnet8", student="resnet8", batch_size=4, steps=2, num_classes=3)
    assert [row.method for row in rows] == ["floor", "KD", "TRG", "KD + TRG"]
    assert rows[1].over_kd == 1
    assert all(row.ms > 0 for row in rows)
    assert [row.over_alone is not None for row in rows] == [False, False, False, True]
