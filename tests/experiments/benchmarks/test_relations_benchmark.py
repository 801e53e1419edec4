import pytest

from experiments.benchmarks import relations
from experiments.benchmarks.relations import PARTS, measure, prepare


def test_a_row_for_each_part_and_a_dense_reference_where_there_is_one(monkeypatch):
    asked = []
    monkeypatch.setattr(relations, "peak_mib", lambda *given: asked.append(given) or 7.0)  # it takes a process
    batch_graph, inner = measure((64,), width=8, projection=4, k=3, repeats=2, parts=("batch graph", "L_inner"))
    assert batch_graph.dense_ms > 0
    assert inner.dense_ms is None
    assert batch_graph.over_products > 0
    assert batch_graph.peak_mib == 7.0
    assert asked == [(prepare, part, 64, 8, 4, 3, "cpu") for part in ("batch graph", "L_inner")]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_runs(part):
    prepare(part, 64, 8, 4, 3, "cpu")()
