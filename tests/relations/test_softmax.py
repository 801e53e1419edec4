import math

import loss_equations as equations
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph
from trg_pyg.relations import (
    Angle,
    Distance,
    DotProduct,
    Gaussian,
    GivenWeight,
    NodeFeatures,
    Scaled,
    Softmax,
    segment_log_softmax,
)

SUPPORTS = ["neighbors", "all"]
SEGMENTS = torch.tensor([2, 0, 2, 0, 2])
SUPPORT = pytest.mark.parametrize("support", SUPPORTS)


def random_graph(seed: int, nodes: int, density: float) -> Data:
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(nodes, nodes, generator=generator) < density).nonzero()
    edges = edges[torch.randperm(len(edges), generator=generator)]
    weight = torch.randn(len(edges), generator=generator, dtype=torch.float64).requires_grad_()
    return Data(edge_index=edges.T, edge_weight=weight, num_nodes=nodes)


def by_loop(graph: Data, support: str, temperature: float) -> torch.Tensor:
    weight, (source, target) = graph.edge_weight / temperature, graph.edge_index
    if support == "all":
        matrix = equations.adjacency(graph.edge_index, weight, graph.num_nodes)
        rows = torch.stack([equations.softmax_row(row) for row in matrix])
        return rows[source, target]
    out = [weight[:0].sum()] * len(weight)
    for node in range(graph.num_nodes):
        into = (target == node).nonzero().flatten().tolist()
        if into:
            for e, p in zip(into, equations.softmax_row(weight[into]), strict=True):
                out[e] = p
    return torch.stack(out) if out else weight


def test_written_out():
    """Edges 0 -> 2 and 1 -> 2 of weight log 2 and log 6; 3 nodes."""
    graph = Data(
        edge_index=torch.tensor([[0, 1], [2, 2]]),
        edge_weight=torch.tensor([math.log(2), math.log(6)]),
        num_nodes=3,
    )
    # Into node 2: 2 and 6 of 8. Rows 0 and 1 of the matrix: (1, 1, 2) and (1, 1, 6).
    assert Softmax(GivenWeight())(graph).tolist() == pytest.approx([2 / 8, 6 / 8])
    assert Softmax(GivenWeight(), support="all")(graph).tolist() == pytest.approx([2 / 4, 6 / 8])
    # At temperature 1/2 the weights are log 4 and log 36.
    assert Softmax(GivenWeight(), 0.5)(graph).tolist() == pytest.approx([4 / 40, 36 / 40])
    assert Softmax(GivenWeight(), 0.5, "all")(graph).tolist() == pytest.approx([4 / 6, 36 / 38])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    nodes=st.integers(1, 7),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    support=st.sampled_from(SUPPORTS),
    temperature=st.sampled_from([0.05, 1.0, 4.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_a_softmax_row_by_row(close, nodes, density, support, temperature, seed):
    graph = random_graph(seed, nodes, density)
    relation, expected = Softmax(GivenWeight(), temperature, support), by_loop(graph, support, temperature)
    value = relation(graph)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(relation.log_probability(graph), expected.log(), rtol=1e-6, atol=1e-9)
    weight = torch.arange(1.0, len(value) + 1, dtype=torch.float64)
    close((value * weight).sum(), (expected * weight).sum(), [graph.edge_weight])


def test_neighbours_sum_to_one_and_rows_over_all_nodes_leave_room_for_those_without_an_edge():
    graph = random_graph(0, 6, 0.6)
    source, target = graph.edge_index
    into = scatter(Softmax(GivenWeight())(graph), target, dim_size=6)
    torch.testing.assert_close(into, torch.ones(6, dtype=torch.float64))
    out = scatter(Softmax(GivenWeight(), support="all")(graph), source, dim_size=6)
    full = torch.bincount(source, minlength=6) == 6
    assert (out[~full] < 1).all()
    complete = random_graph(0, 6, 2.0)
    out = scatter(Softmax(GivenWeight(), support="all")(complete), complete.edge_index[0], dim_size=6)
    torch.testing.assert_close(out, torch.ones(6, dtype=torch.float64))


@SUPPORT
@pytest.mark.parametrize("size", [1e4, -1e4, 1e-9])
def test_extreme_values_are_finite(support, size):
    weight = (torch.tensor([1.0, -1.0, 0.5, 0.0]) * size).requires_grad_()
    graph = Data(edge_index=torch.tensor([[0, 1, 2, 0], [1, 0, 1, 2]]), edge_weight=weight, num_nodes=3)
    relation = Softmax(GivenWeight(), support=support)
    (relation(graph).square().sum() + relation.log_probability(graph).sum()).backward()
    assert relation(graph).isfinite().all()
    assert relation.log_probability(graph).isfinite().all()
    assert weight.grad.isfinite().all()


@SUPPORT
def test_rows_that_are_full_do_not_notice_a_shift(support):
    """Far below 0 too, where the exponential of its opposite is infinite in float32."""
    graph = random_graph(0, 3, 2.0)
    shifted = graph.edge_weight.detach().float().sub(100).requires_grad_()
    relation = Softmax(GivenWeight(), support=support)
    value = relation(Data(edge_index=graph.edge_index, edge_weight=shifted, num_nodes=3))
    torch.testing.assert_close(value, relation(graph).float(), rtol=1e-4, atol=0)
    value[0].backward()
    assert shifted.grad.isfinite().all()


@SUPPORT
def test_of_a_scaled_relation(support, hard):
    """Relations nest: a softmax of distances in units of their mean."""
    graph = KNNGraph(2, None)(hard("random", 8, 3).view(2, 4, 3))
    of = Scaled(Distance(), "mean")
    weighted = Data(edge_index=graph.edge_index, edge_weight=of(graph), num_nodes=8)
    torch.testing.assert_close(Softmax(of, 0.5, support)(graph), by_loop(weighted, support, 0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Softmax(Angle()), "Softmax of Angle: it has values on triples, a softmax needs them on edges"),
        (lambda: Softmax(NodeFeatures()), "Softmax of NodeFeatures: it has values on nodes"),
        (lambda: Softmax(Softmax(DotProduct())), "Softmax of Softmax: its values are probabilities already"),
        (lambda: Softmax(Scaled(Gaussian(), "sum")), "Softmax of Scaled: its values are probabilities already"),
        (lambda: Softmax(DotProduct(), 0.0), "temperature=0.0: it must be positive"),
        (lambda: Softmax(DotProduct(), support="some"), "support=some: choose all or neighbors"),
    ],
)
def test_impossible_combinations_are_refused_when_built(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_segments_equal_log_softmax_within_each_group():
    logits = torch.randn(5, dtype=torch.float64)
    out = segment_log_softmax(logits, SEGMENTS, 4)  # groups 1 and 3 are empty
    torch.testing.assert_close(out[[1, 3]], logits[[1, 3]].log_softmax(0))
    torch.testing.assert_close(out[[0, 2, 4]], logits[[0, 2, 4]].log_softmax(0))


def test_gradcheck_of_segments():
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: segment_log_softmax(x, SEGMENTS, 4), (logits,))


def test_extreme_logits_of_segments_are_finite():
    logits = torch.tensor([1e6, -1e6, -1e6, -1e6, 0.0], requires_grad=True)
    out = segment_log_softmax(logits, SEGMENTS, 3)
    out.sum().backward()
    assert out.tolist() == [0, -torch.tensor(2.0).log().item(), -2e6, -torch.tensor(2.0).log().item(), -1e6]
    assert logits.grad.isfinite().all()


def test_a_segment_of_one_is_certain():
    assert segment_log_softmax(torch.tensor([-700.0]), torch.tensor([0]), 1).tolist() == [0]
