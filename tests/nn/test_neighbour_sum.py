import pytest
import torch

import trg_pyg.nn.blocks
from trg_pyg.nn import Propagation, neighbour_sum


def test_two_edges_into_one_node_written_out():
    x = torch.tensor([[1.0, 2.0], [10.0, 20.0], [5.0, 5.0]])
    edge_index = torch.tensor([[0, 1], [2, 2]])
    out = neighbour_sum(x, edge_index, torch.tensor([2.0, 0.5]))
    assert out.tolist() == [[0.0, 0.0], [0.0, 0.0], [7.0, 14.0]]


@pytest.mark.parametrize("block_edges", [1, 4, 1000])
def test_equals_a_dense_product_whatever_the_blocks(block_edges, tokens, monkeypatch):
    """An edge that occurs twice counts twice."""
    monkeypatch.setitem(trg_pyg.nn.blocks._BLOCK_BYTES, "cpu", block_edges * 3 * 8)
    monkeypatch.setattr(trg_pyg.nn.blocks, "_DENSE_SHARE", 2.0)  # never dense
    x = tokens(6, 3, dtype=torch.float64).requires_grad_()
    weight = tokens(15, seed=1, dtype=torch.float64).requires_grad_()
    source, target = edge_index = torch.randint(6, (2, 15), generator=torch.Generator().manual_seed(0))
    matrix = torch.zeros(6, 6, dtype=torch.float64).index_put((target, source), weight, accumulate=True)
    out, expected = neighbour_sum(x, edge_index, weight), matrix @ x
    torch.testing.assert_close(out, expected)
    direction = tokens(6, 3, seed=2, dtype=torch.float64)
    actual = torch.autograd.grad((out * direction).sum(), (x, weight))
    torch.testing.assert_close(actual, torch.autograd.grad((expected * direction).sum(), (x, weight)))


def test_dense_graphs_take_one_product_and_give_the_same(tokens, monkeypatch):
    """Three graphs of 4 nodes; an edge of the last occurs twice, and one of its nodes has none."""
    x = tokens(12, 3, dtype=torch.float64).requires_grad_()
    local = torch.tensor([[0, 1, 3, 0, 2, 1, 1], [1, 0, 2, 2, 0, 2, 2]])
    edge_index = torch.cat([local + 4 * graph for graph in range(3)], dim=1)
    weight = tokens(21, seed=1, dtype=torch.float64).requires_grad_()
    direction = tokens(12, 3, seed=2, dtype=torch.float64)
    results = []
    for share in (0.0, 2.0):  # always dense, never dense
        monkeypatch.setattr(trg_pyg.nn.blocks, "_DENSE_SHARE", share)
        out = neighbour_sum(x, edge_index, weight, num_graphs=3)
        results.append((out, *torch.autograd.grad((out * direction).sum(), (x, weight))))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("share", [0.0, 2.0])
@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_gradcheck(wanted, share, tokens, monkeypatch):
    monkeypatch.setattr(trg_pyg.nn.blocks, "_DENSE_SHARE", share)
    x, weight = tokens(4, 2, dtype=torch.float64), tokens(5, seed=1, dtype=torch.float64)
    x.requires_grad_(wanted[0])
    weight.requires_grad_(wanted[1])
    edge_index = torch.tensor([[0, 1, 2, 2, 3], [1, 1, 0, 3, 3]])
    assert torch.autograd.gradcheck(lambda x, weight: neighbour_sum(x, edge_index, weight), (x, weight))


def test_without_edges_it_is_zero(tokens):
    x = tokens(3, 2).requires_grad_()
    out = neighbour_sum(x, torch.empty(2, 0, dtype=torch.long), torch.empty(0))
    out.sum().backward()
    assert torch.equal(out, torch.zeros(3, 2))
    assert torch.equal(x.grad, torch.zeros(3, 2))


def test_messages_of_all_edges_never_exist_together(largest_tensor, tokens, monkeypatch):
    monkeypatch.setitem(trg_pyg.nn.blocks._BLOCK_BYTES, "cpu", 64 * 16 * 4)
    x, weight = tokens(100, 16).requires_grad_(), tokens(1000).abs().requires_grad_()
    edge_index = torch.randint(100, (2, 1000))
    with largest_tensor() as largest:
        Propagation(2)(x, edge_index, weight).sum().backward()
    assert largest.numel <= 2000  # the edges; their messages would be 16,000 numbers
