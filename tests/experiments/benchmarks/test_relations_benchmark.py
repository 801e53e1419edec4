import pytest
import torch

from experiments.benchmarks._measure import peak_mib, ratio
from experiments.benchmarks.relations import PARTS, main, measure, prepare


def test_a_row_for_each_part(capsys):
    main([64], width=8, projection=4, k=3, repeats=1, device="cpu", parts=["L_global", "graph + all losses"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| tokens | part | ms | products ms | over products | dense ms | peak mib |"
    assert [line.split(" | ")[1] for line in lines[4:]] == ["L_global", "graph + all losses"]


def test_a_dense_reference_where_there_is_one():
    batch_graph, inner = measure([64], width=8, projection=4, k=3, repeats=2, parts=["batch graph", "L_inner"])
    assert batch_graph.dense_ms > 0
    assert inner.dense_ms is None
    assert batch_graph.over_products > 0
    assert batch_graph.peak_mib >= 0


@pytest.mark.parametrize("part", PARTS)
def test_every_part_runs(part):
    prepare(part, 64, 8, 4, 3, "cpu")()


def allocate(mebibytes):
    return lambda: torch.ones(mebibytes << 18).sum()


def test_peak_memory_is_that_of_the_call():
    assert 60 < peak_mib(allocate, 64) < 110


def fail():
    raise SystemExit(3)


def test_a_process_that_ends_early_is_reported():
    with pytest.raises(RuntimeError, match="exit code 3"):
        peak_mib(fail)


def test_a_ratio_is_the_median_of_neighbours():
    assert ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0
