import pytest
import torch
from pairs import pairs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import trg_pyg.nn.blocks
from trg_pyg.graphs import CompleteGraph
from trg_pyg.relations import absolute_distances, dot_products, squared_distances

FUNCTIONS = [squared_distances, absolute_distances, dot_products]


def by_loop(function, x, edge_index):
    pairs = [(x[i], x[j]) for i, j in edge_index.T.tolist()]
    if function is squared_distances:
        return torch.stack([((a - b) ** 2).sum() for a, b in pairs])
    if function is absolute_distances:
        return torch.stack([(a - b).abs().sum() for a, b in pairs])
    return torch.stack([(a * b).sum() for a, b in pairs])


def test_two_points_joined_both_ways_and_to_themselves():
    x = torch.tensor([[0.0, 1.0], [3.0, 5.0]])
    edge_index = torch.tensor([[0, 1, 0], [1, 0, 0]])
    assert squared_distances(x, edge_index).tolist() == [25.0, 25.0, 0.0]
    assert absolute_distances(x, edge_index).tolist() == [7.0, 7.0, 0.0]
    assert dot_products(x, edge_index).tolist() == [5.0, 5.0, 1.0]


@pytest.mark.parametrize(("function", "edges", "block_edges"), pairs(FUNCTIONS, [1, 7, 60], [1, 4, 1000]))
def test_equal_to_a_loop_over_edges_whatever_the_blocks(function, edges, block_edges, tokens, monkeypatch):
    monkeypatch.setitem(trg_pyg.nn.blocks._BLOCK_BYTES, "cpu", block_edges * 5 * 8)
    x = tokens(9, 5, dtype=torch.float64).requires_grad_()
    edge_index = torch.randint(9, (2, edges), generator=torch.Generator().manual_seed(edges))
    out, expected = function(x, edge_index), by_loop(function, x, edge_index)
    torch.testing.assert_close(out, expected)
    weight = tokens(edges, seed=1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad((expected * weight).sum(), x)[0])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_are_those_of_finite_differences(function, tokens):
    x = tokens(4, 3, dtype=torch.float64).requires_grad_()
    edge_index = torch.tensor([[0, 1, 2, 2, 3], [1, 1, 0, 3, 0]])
    assert torch.autograd.gradcheck(lambda x: function(x, edge_index), x)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_edges(function, tokens):
    x = tokens(4, 3).requires_grad_()
    out = function(x, torch.empty(2, 0, dtype=torch.long))
    assert out.shape == (0,)
    out.sum().backward()
    assert torch.equal(x.grad, torch.zeros(4, 3))


def test_duplicates_are_exactly_at_distance_zero():
    x = torch.full((2, 64), 0.1)
    assert squared_distances(x, torch.tensor([[0], [1]])).item() == 0.0
    assert absolute_distances(x, torch.tensor([[0], [1]])).item() == 0.0


def test_equal_coordinates_pass_no_gradient_to_a_city_block_length():
    x = torch.tensor([[1.0, 2.0], [1.0, 5.0]], requires_grad=True)
    absolute_distances(x, torch.tensor([[0], [1]])).sum().backward()
    assert x.grad.tolist() == [[0.0, -1.0], [0.0, 1.0]]


def random_edges(graphs: int, nodes: int, edges: int, seed: int = 0) -> Tensor:
    """So many different edges in each of some equal graphs, self loops among them, in any order."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [torch.randperm(nodes * nodes, generator=generator)[:edges] for _ in range(graphs)]
    edge_index = [torch.stack([p // nodes, p % nodes]) + g * nodes for g, p in enumerate(pairs)]
    return torch.cat(edge_index, dim=1)[:, torch.randperm(graphs * edges, generator=generator)]


def weighted_gradient(value: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad((value * torch.arange(1, len(value) + 1, dtype=value.dtype)).sum(), x)[0]


def matrix_products(run) -> bool:
    """Whether a call multiplies matrices, which only the dense path does."""
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with Watch():
        run()
    return bool(seen & {"mm", "bmm"})


# 8 nodes have 64 pairs, of which a quarter is 16.
@pytest.mark.parametrize(("edges", "dense"), [(1, False), (15, False), (16, True), (17, True), (64, True)])
@pytest.mark.parametrize("graphs", [1, 3])
def test_all_products_or_those_of_the_edges_are_the_same(edges, dense, graphs, tokens, monkeypatch):
    x = tokens(graphs * 8, 5, dtype=torch.float64).requires_grad_()
    edge_index = random_edges(graphs, 8, edges)
    assert matrix_products(lambda: dot_products(x, edge_index, graphs)) == dense
    results = []
    for share in (0.0, 2.0):  # always dense, never dense
        monkeypatch.setattr(trg_pyg.nn.blocks, "_DENSE_SHARE", share)
        value = dot_products(x, edge_index, graphs)
        results.append((value, weighted_gradient(value, x)))
    expected = by_loop(dot_products, x, edge_index)
    expected_gradient = weighted_gradient(expected, x)
    for value, gradient in results:
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_graphs_that_are_not_known_to_be_apart_are_one():
    x = torch.tensor([[1.0], [2.0], [3.0], [5.0]])
    edge_index = torch.tensor([[0, 3, 1, 2], [2, 0, 3, 1]])
    assert dot_products(x, edge_index).tolist() == [3.0, 5.0, 10.0, 6.0]


@pytest.mark.parametrize("edges", [8, 64])  # gathered, all products
def test_products_under_autocast_are_those_of_full_precision(edges, tokens):
    x, edge_index = tokens(8, 5).requires_grad_(), random_edges(1, 8, edges)
    expected = dot_products(x, edge_index)
    with torch.autocast("cpu", torch.bfloat16):
        value = dot_products(x, edge_index)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(weighted_gradient(value, x), weighted_gradient(expected, x))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_nodes(function):
    assert function(torch.empty(0, 3), torch.empty(2, 0, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize(
    ("graphs", "kind", "dtype"),
    pairs(
        [1, 3],
        ["random", "duplicates", "all equal", "one node different", "far from the origin"],
        [torch.float32, torch.float64],
    ),
)
def test_squared_distances_of_a_dense_graph_are_those_of_differences(graphs, kind, dtype, tokens):
    x = tokens(6 * graphs, 5, dtype=dtype)
    if kind == "duplicates":
        x[1::2] = x[::2]
    elif kind == "all equal":
        x[:] = x[0].clone()
    elif kind == "one node different":
        x[1:] = x[0].clone() + 1e-3
    elif kind == "far from the origin":
        x += 100
    x.requires_grad_()
    edge_index = CompleteGraph(None, self_loops=True)(x.detach().view(graphs, 6, 5)).edge_index
    weight = tokens(edge_index.shape[1], seed=1, dtype=dtype)
    dense = squared_distances(x, edge_index, graphs)
    # One edge at a time is no dense graph.
    sparse = torch.cat([squared_distances(x, edge) for edge in edge_index.split(1, dim=1)])
    tolerance = {"rtol": 1e-5, "atol": 1e-7} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-14}
    torch.testing.assert_close(dense, sparse, **tolerance)
    assert (dense[sparse == 0] == 0).all()
    (grad,) = torch.autograd.grad(dense @ weight, x)
    (expected,) = torch.autograd.grad(sparse @ weight, x)
    largest = float(expected.abs().max())
    torch.testing.assert_close(grad, expected, rtol=tolerance["rtol"], atol=tolerance["rtol"] * largest + 1e-30)


def test_dense_squared_distances_have_the_gradient_of_finite_differences(tokens):
    x = tokens(8, 3, dtype=torch.float64).requires_grad_()
    edge_index = CompleteGraph(None)(x.detach().view(2, 4, 3)).edge_index
    assert torch.autograd.gradcheck(lambda x: squared_distances(x, edge_index, 2), (x,))
