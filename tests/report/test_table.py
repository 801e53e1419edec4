import pytest

from trg_pyg.errors import InputError
from trg_pyg.report.table import results_table


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


def test_passes_have_a_column_where_methods_differ_in_them():
    def table(*methods):
        results = {f"method {passes}": [[epoch(50, passes=each) for each in passes]] for passes in methods}
        return results_table(None, results).splitlines()

    assert "passes" not in "".join(table([2.0, 2.0], [2.0]))
    header, *rows = cells("\n".join(table([2.0], [12.0, 8.0, 8.0, 8.0])[:4]))
    assert [row[header.index("passes")] for row in rows[1:]] == ["2", "9"]
    assert table([2.0], [8.0])[-1].startswith("passes: inputs sent through student and teacher for each training input")


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


def cells(table):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]


def test_the_difference_to_the_reference_is_paired_by_seed():
    # Both have 50, 60 and 70 at some seed; only seed by seed are the differences 1, 2 and 3, in an order of their own.
    kd, trg = (50.0, 70.0, 60.0), (51.0, 73.0, 62.0)
    results = {"KD": [[epoch(top1)] for top1 in kd], "TRG": [[epoch(0), epoch(top1)] for top1 in trg]}
    table = cells(results_table(("resnet56", {"top1": 66.74}), results, reference="KD"))
    assert table[0][-1] == "top-1 over KD [95 %]"
    assert [(row[0], row[-1]) for row in table[2:]] == [
        ("teacher resnet56", ""),
        ("KD", ""),
        ("TRG", "+2.00 [-0.48, 4.48]"),
    ]
    assert cells(results_table(None, results))[0][-1] == "s/epoch"
    # The same accuracies at other seeds differ by 12, 3 and -9: deviation sqrt(111), times 4.30265 / sqrt(3).
    results["TRG"].reverse()
    assert cells(results_table(None, results, reference="KD"))[-1][-1] == "+2.00 [-24.17, 28.17]"


def test_a_single_seed_has_a_difference_without_an_interval():
    results = {"KD": [[epoch(50.0)]], "TRG": [[epoch(48.5)]]}
    assert cells(results_table(None, results, reference="KD"))[-1][-1] == "-1.50"


def test_methods_of_unequal_seeds_have_no_difference():
    results = {"KD": [[epoch(50.0)], [epoch(51.0)]], "TRG": [[epoch(48.5)]]}
    with pytest.raises(InputError, match="1 and 2 values: a paired difference needs the same seeds of both"):
        results_table(None, results, reference="KD")


def test_epochs_without_an_evaluation_have_no_part_in_the_table():
    # As with train.eval_every=2: neither test nor best in the first epoch, and no time for an evaluation.
    def history(top1):
        return [{"seconds": 1.0, "ms_per_step": 5.0}, {"seconds": 2.0, "ms_per_step": 7.0} | {"test/top1": top1}]

    results = {"KD": [history(50.0), history(52.0)], "TRG": [history(51.0), history(53.0)]}
    assert cells(results_table(None, results, reference="KD"))[2:] == [
        ["KD", "51.00 ± 1.41", "6.00 ± 0.00", "1.50 ± 0.00", ""],
        ["TRG", "52.00 ± 1.41", "6.00 ± 0.00", "1.50 ± 0.00", "+1.00 [1.00, 1.00]"],
    ]
