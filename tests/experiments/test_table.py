from experiments.table import results_table


def epoch(top1, **others):
    return {"test/top1": top1, "best/top1": top1 + 1, "seconds": 2.0, **others}


def test_a_row_is_the_last_epoch_as_mean_and_standard_deviation_over_seeds():
    results = {"KD": [[epoch(0), epoch(50)], [epoch(0), epoch(52)]], "TRG": [[epoch(54)]]}
    assert results_table(("resnet56", {"top1": 66.74, "loss": 1.0}), results).splitlines() == [
        "| method           | top-1        | best epoch   | s/epoch     |",
        "|------------------|--------------|--------------|-------------|",
        "| teacher resnet56 | 66.74        |              |             |",
        "| KD               | 51.00 ± 1.41 | 52.00 ± 1.41 | 2.00 ± 0.00 |",
        "| TRG              | 54.00        | 55.00        | 2.00        |",
    ]


def test_the_cost_of_a_step_is_the_mean_over_all_epochs_and_seeds():
    slow, fast = ([epoch(50, ms_per_step=cost) for cost in costs] for costs in ((10.0, 14.0), (7.0, 9.0)))
    # A run that was resumed from an older version has epochs without it.
    results = {"KD": [slow, fast], "TRG": [[epoch(50), epoch(50, ms_per_step=20.0)]], "old": [[epoch(50)]]}
    table = [[cell.strip() for cell in row.split("|")[1:-1]] for row in results_table(None, results).splitlines()]
    assert table[0] == ["method", "top-1", "best epoch", "ms/step", "s/epoch"]
    assert [row[3] for row in table[2:]] == ["10.00 ± 2.83", "20.00", ""]


def test_groups_of_a_long_tail_have_columns_where_they_were_measured():
    header = results_table(None, {"KD": [[epoch(50, **{"test/many": 70.0, "test/few": 3.0})]]}).splitlines()[0]
    assert [cell.strip() for cell in header.split("|")[1:-1]] == [
        "method",
        "top-1",
        "many",
        "few",
        "best epoch",
        "s/epoch",
    ]
