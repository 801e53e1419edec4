from experiments.benchmarks.neighbours import main, measure


def test_a_row_for_each_method_at_each_size():
    rows = measure([20, 40], width=3, k=2, repeats=2)
    for points in (20, 40):
        methods = {row.method: row for row in rows if row.points == points}
        assert set(methods) == {"product", "trg_pyg", "cdist + topk", "faiss", "torch-cluster"}
        assert methods["product"].over_product == 1.0
        assert methods["trg_pyg"].ms > 0
    # What is not installed says so, and what is has a time.
    assert all((row.ms is None) == (row.note == "not installed") for row in rows)


def test_the_table_is_markdown(capsys):
    main([20], width=3, k=2, repeats=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 nearest neighbours of points of width 3, 1 calls of each in turn")
    assert lines[2:4] == [
        "| points | method | ms | over product | note |",
        "|--------|--------|----|--------------|------|",
    ]
    assert lines[4].startswith("| 20 | product |")
