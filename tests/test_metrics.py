import pytest

from trg_pyg import metrics
from trg_pyg.metrics import METRICS, Metric, is_loss_part
from trg_pyg.report.table import results_table


def test_no_two_metrics_have_one_key_or_one_column():
    for names in ([metric.key for metric in METRICS], [metric.title for metric in METRICS]):
        assert len(set(names)) == len(names)


def test_one_entry_gives_a_metric_its_column(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, Metric("test/f1", "F1", "%", "higher", "score")))
    assert results_table(None, {"KD": [[{"test/top1": 50.0, "test/f1": 45.0, "test/other": 1.0}]]}).splitlines() == [
        "| method | top-1 | F1    |",
        "|--------|-------|-------|",
        "| KD     | 50.00 | 45.00 |",
    ]


@pytest.mark.parametrize(("better", "epoch"), [("higher", 1), ("lower", 2)])
def test_the_best_epoch_is_the_first_of_equals(better, epoch):
    values = (1.0, 5.0, 0.0, 5.0, 0.0)
    metric = Metric("test/x", "x", "", better, "score")
    assert metric.best([{"test/x": value, "epoch": i} for i, value in enumerate(values)])["epoch"] == epoch


def test_what_a_method_calls_the_parts_of_its_loss_is_no_metric():
    assert [is_loss_part(key) for key in ("train/ce", "train/total", "train/top1", "test/ce")] == [True, *[False] * 3]
