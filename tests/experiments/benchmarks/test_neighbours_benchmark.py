from experiments.benchmarks.neighbours import measure


def test_a_row_for_each_method_at_each_size():
    rows = measure((20, 40), width=3, k=2, repeats=2)
    for points in (20, 40):
        methods = {row.method: row for row in rows if row.points == points}
        assert set(methods) == {"product", "trg_pyg", "cdist + topk", "faiss", "torch-cluster"}
        assert methods["product"].over_product == 1.0
        assert methods["trg_pyg"].ms > 0
    # What is not installed says so, and what is has a time.
    assert all((row.ms is None) == (row.note == "not installed") for row in rows)
