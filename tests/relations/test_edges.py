import pytest
import torch

import trg_pyg.relations.edges
from trg_pyg.relations import dot_products, squared_distances

FUNCTIONS = [squared_distances, dot_products]


def by_loop(function, x, edge_index):
    pairs = [(x[i], x[j]) for i, j in edge_index.T.tolist()]
    if function is squared_distances:
        return torch.stack([((a - b) ** 2).sum() for a, b in pairs])
    return torch.stack([(a * b).sum() for a, b in pairs])


def test_two_points_joined_both_ways_and_to_themselves():
    x = torch.tensor([[0.0, 1.0], [3.0, 5.0]])
    edge_index = torch.tensor([[0, 1, 0], [1, 0, 0]])
    assert squared_distances(x, edge_index).tolist() == [25.0, 25.0, 0.0]
    assert dot_products(x, edge_index).tolist() == [5.0, 5.0, 1.0]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("edges", [1, 7, 60])
@pytest.mark.parametrize("block_edges", [1, 4, 1000])
def test_equal_to_a_loop_over_edges_whatever_the_blocks(function, edges, block_edges, tokens, monkeypatch):
    monkeypatch.setitem(trg_pyg.relations.edges._BLOCK_BYTES, "cpu", block_edges * 5 * 8)
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
