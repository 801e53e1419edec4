import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Batch, Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph
from trg_pyg.relations import Angle, Cosine, Distance, DotProduct, GivenWeight, NodeFeatures, Scaled

SIZES = ["mean", "max", "norm", "sum"]
BY = pytest.mark.parametrize("by", SIZES)


def graph(edges: list[tuple[int, int]], weight: Tensor, nodes: int) -> Data:
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    return Data(x=torch.zeros(nodes, 1), edge_index=edge_index, edge_weight=weight)


def scaled(value: list[Tensor], by: str) -> list[Tensor]:
    """One group of values."""
    if by == "mean":
        positive = [v for v in value if v > 0]
        size = torch.stack(positive).mean() if positive else torch.tensor(0.0)
    elif by == "max":
        size = torch.stack(value).max()
    elif by == "norm":
        squares = torch.stack(value).square().sum()
        size = squares.sqrt() if squares > 0 else squares * 0
    else:
        size = torch.stack(value).sum()
    return [v / size if size != 0 else v * 0 for v in value]


def by_loop(graphs: list[Data], by: str) -> Tensor:
    """All edges of the graphs, group by group: a graph, or a node of it."""
    out = []
    for one in graphs:
        target, weight = one.edge_index[1].tolist(), list(one.edge_weight)
        here: list[Tensor | None] = [None] * len(weight)
        for group in [0] if by in ("mean", "max") else range(one.num_nodes):
            members = [e for e in range(len(weight)) if by in ("mean", "max") or target[e] == group]
            if members:
                for e, value in zip(members, scaled([weight[e] for e in members], by), strict=True):
                    here[e] = value
        out += here
    return torch.stack(out) if out else torch.cat([one.edge_weight for one in graphs])


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("mean", [1.0, 1.0, 0.0, 0.5, 1.5]),  # mean of the positive values: 2
        ("max", [2 / 3, 2 / 3, 0.0, 1 / 3, 1.0]),
        ("norm", [2 / 8**0.5, 2 / 8**0.5, 0.0, 1 / 10**0.5, 3 / 10**0.5]),
        ("sum", [0.5, 0.5, 0.0, 0.25, 0.75]),
    ],
)
def test_written_out(by, expected):
    """Node 0 hears 2 and 2, node 1 hears 0, node 2 hears 1 and 3."""
    one = graph([(1, 0), (2, 0), (0, 1), (0, 2), (1, 2)], torch.tensor([2.0, 2.0, 0.0, 1.0, 3.0]), 3)
    assert Scaled(GivenWeight(), by)(one).tolist() == pytest.approx(expected)


@settings(max_examples=40)
@given(
    by=st.sampled_from(SIZES),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    density=st.sampled_from([0.0, 0.4, 1.0]),
    low=st.sampled_from([0.1, -1.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_a_loop_over_groups_in_each_graph_of_a_batch(close, by, sizes, density, low, seed):
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for size in sizes:
        edges = (torch.rand(size, size, generator=generator) < density).nonzero()
        edges = edges[torch.randperm(len(edges), generator=generator)]
        weight = torch.rand(len(edges), generator=generator, dtype=torch.float64) * (1 - low) + low
        graphs.append(graph(edges.tolist(), weight.requires_grad_(), size))
    value, expected = Scaled(GivenWeight(), by)(Batch.from_data_list(graphs)), by_loop(graphs, by)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-12)
    weight = torch.arange(1.0, len(value) + 1, dtype=torch.float64)
    close((value * weight).sum(), (expected * weight).sum(), [one.edge_weight for one in graphs])


@BY
def test_a_batch_is_its_graphs_one_by_one(by, hard):
    batch = CompleteGraph(None)(hard("random", 12, 3).view(3, 4, 3))
    relation = Scaled(Distance(), by)
    torch.testing.assert_close(relation(batch), torch.cat([relation(one) for one in batch.to_data_list()]))


@BY
def test_a_unit_does_not_matter_and_gradient_flows_through_the_size(by, hard):
    x = hard("random", 5, 3).requires_grad_()
    edge_index = CompleteGraph(None)(x.detach()[None]).edge_index
    relation = Scaled(Distance(), by)
    value = relation(Data(x=x, edge_index=edge_index))
    torch.testing.assert_close(relation(Data(x=x * 7, edge_index=edge_index)), value)
    # Values that do not depend on the scale of x have no gradient along x.
    weight = torch.arange(1.0, len(value) + 1, dtype=value.dtype)
    (gradient,) = torch.autograd.grad((value * weight).sum(), x)
    assert gradient.abs().max() > 1e-2
    assert (gradient * x.detach()).sum().abs() < 1e-10


@BY
def test_gradcheck(by, hard):
    edge_index = CompleteGraph(None)(hard("random", 4, 3)[None]).edge_index
    relation = Scaled(DotProduct(), by)
    x = (hard("random", 4, 3).abs() + 0.1).requires_grad_()
    # Both directions of a pair have one product: a unique largest is not there, but its gradient is the same.
    assert torch.autograd.gradcheck(lambda x: relation(Data(x=x, edge_index=edge_index)), (x,))


@pytest.mark.parametrize(
    ("by", "weight"),
    [
        *((by, [0.0, 0.0]) for by in SIZES),
        ("mean", [-1.0, -2.0]),  # no positive value
        ("sum", [1.0, -1.0]),
        ("max", [0.0, -3.0]),
    ],
)
def test_values_whose_size_is_zero_are_zero_with_a_finite_gradient(by, weight):
    weight = torch.tensor([*weight, 5.0, 5.0], requires_grad=True)
    edges = [(0, 0), (1, 0)], [(0, 1), (1, 1)]
    zero, other = graph(edges[0], weight[:2], 2), graph(edges[1], weight[2:], 2)
    value = Scaled(GivenWeight(), by)(Batch.from_data_list([zero, other]))
    assert value[:2].tolist() == [0.0, 0.0]
    assert value[2] > 0.4
    (value * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert weight.grad[:2].tolist() == [0.0, 0.0]
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("by", "of", "kind"),
    pairs(SIZES, [Distance(), Distance(squared=True), DotProduct(), Cosine(shifted=True)], HARD),
    ids=str,
)
def test_hard_inputs_are_finite(by, of, kind, hard):
    x = hard(kind, 8, 5, dtype=torch.float32).requires_grad_()
    value = Scaled(of, by)(CompleteGraph(None, self_loops=True)(x.view(2, 4, 5)))
    value.square().sum().backward()
    assert value.isfinite().all()
    assert x.grad.isfinite().all()


@BY
def test_no_edges(by):
    assert Scaled(GivenWeight(), by)(graph([], torch.empty(0), 2)).shape == (0,)


def test_only_the_sum_makes_a_distribution():
    assert [by for by in SIZES if Scaled(Cosine(shifted=True), by).distribution] == ["sum"]
    assert not Scaled(Cosine(), "sum").distribution  # shares of values below 0 are no probabilities


@pytest.mark.parametrize(("of", "on"), [(Angle(), "triples"), (NodeFeatures(), "nodes")])
def test_what_is_not_on_edges_is_refused(of, on):
    with pytest.raises(InputError, match=f"Scaled {type(of).__name__}: it has values on {on}"):
        Scaled(of, "mean")


def test_unknown_sizes_are_refused():
    with pytest.raises(InputError, match="by=median: choose mean or max or norm or sum"):
        Scaled(Distance(), "median")


@pytest.mark.parametrize(
    ("of", "by"), [(DotProduct(), "norm"), (Distance(), "mean"), (Distance(squared=True), "max")], ids=str
)
@pytest.mark.parametrize("factor", [2.0**-40, 2.0**40])
def test_the_scale_of_features_does_not_matter(of, by, factor):
    """A value in units of its own is the same, and its gradient the smaller the larger the features are."""
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)) * (1 if factor > 1 or by == "norm" else 2.0**20)
    results = []
    for scale in (1.0, factor):
        leaf = (x * scale).requires_grad_()
        graph = CompleteGraph(None)(leaf.view(1, 8, 5))
        value = Scaled(of, by)(graph)
        value.square().sum().backward()
        results.append((value.detach(), leaf.grad * scale))
    for there, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(there, expected)


def test_lengths_that_underflow_are_zero_with_a_finite_gradient():
    x = (3e-20 * torch.randn(8, 50, generator=torch.Generator().manual_seed(0))).requires_grad_()
    Scaled(Distance(squared=True), "max")(CompleteGraph(None)(x.view(1, 8, 50))).square().sum().backward()
    assert x.grad.isfinite().all()
