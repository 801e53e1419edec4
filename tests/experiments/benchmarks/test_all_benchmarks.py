import sys

import pytest

from experiments.benchmarks import all as everything
from experiments.benchmarks import epoch, neighbours, relations, step
from experiments.benchmarks.all import Row, main, measure, plot
from trg_pyg.errors import InputError


def test_rows_of_every_benchmark(monkeypatch):
    asked = {}

    def answer(module, *rows):
        def measured(*args, **options):
            asked[module.__name__.rpartition(".")[2]] = options
            return list(rows)

        monkeypatch.setattr(module, "measure", measured)

    answer(neighbours, neighbours.Row(64, "trg_pyg", 2.0, 1.3), neighbours.Row(64, "faiss", note="not installed"))
    answer(relations, relations.Row(32, "L_global", 3.0, 2.0, 1.5, 6.0, 40.0))
    answer(step, step.Row("KD", "lowered", 4.0, 1.02, 1.0, 1.3))
    answer(epoch, epoch.Row("trg_pyg", 5.0, 100.0, 1.6))
    rows = measure((64,), (32,), ("resnet20-resnet8",), ("KD",), steps=1, images=8, repeats=1, device="cpu")
    assert rows == [
        Row("neighbours", "trg_pyg", "64", 2.0, 1.3),
        Row("neighbours", "faiss", "64", note="not installed"),
        Row("relations", "L_global", "32", 3.0, 1.5, 2.0, 40.0),
        Row("step", "KD, lowered", "resnet20-resnet8", 4.0, 1.02, 1.3),
        Row("epoch", "trg_pyg", "resnet20-resnet8", 5000.0, times_as_fast=1.6),
    ]
    assert (asked["step"]["teacher"], asked["epoch"]["student"]) == ("resnet20", "resnet8")


def test_one_table_and_a_plot(monkeypatch, tmp_path, capsys):
    rows = [
        *(Row("neighbours", what, size, 1.5, 1.2) for what in ("product", "trg_pyg") for size in ("1024", "4096")),
        Row("neighbours", "faiss", "1024", note="not installed"),
        *(Row("relations", "L_local", size, 2.5, 1.2, peak_mib=3.0) for size in ("1024", "4096")),
        Row("epoch", "trg_pyg", "resnet56-resnet20", 1000.0, times_as_fast=1.5),
    ]
    monkeypatch.setattr(everything, "measure", lambda *args, **options: rows)
    main(output=tmp_path)
    written = (tmp_path / "table.md").read_text()
    assert written.strip() in capsys.readouterr().out
    assert len([line for line in written.splitlines() if line.startswith("| ")]) == 1 + len(rows)
    assert (tmp_path / "cost.png").stat().st_size > 10_000


def test_what_is_no_pair_is_refused():
    with pytest.raises(InputError, match="pairs: resnet56 is no pair"):
        measure((32,), (32,), ("resnet56",), ("KD",), steps=1, images=64, repeats=1, device="cpu")


def test_the_plot_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="needs matplotlib"):
        plot([], tmp_path / "cost.png")
