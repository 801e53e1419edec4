import pytest
import torch
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.nn import Propagation, Readout, TokenGNN


def dense_propagation(x: Tensor, edge_index: Tensor, weight: Tensor, hops: int) -> Tensor:
    """x_i <- (x_i + sum_{j -> i} A_ji x_j) / (1 + sum_{j -> i} A_ji), node by node and edge by edge."""
    for _ in range(hops):
        rows = []
        for i in range(x.shape[0]):
            top, bottom = x[i], torch.ones((), dtype=x.dtype)
            for (source, target), w in zip(edge_index.T.tolist(), weight, strict=True):
                if target == i:
                    top, bottom = top + w * x[source], bottom + w
            rows.append(top / bottom)
        x = torch.stack(rows)
    return x


def test_repr():
    assert str(Propagation(2)) == "Propagation(hops=2)"


def test_one_hop_on_a_path_written_out():
    x = torch.tensor([[0.0], [4.0], [1.0]])
    edge_index = torch.tensor([[0, 2], [1, 1]])  # 0 -> 1 <- 2
    out = Propagation()(x, edge_index, torch.tensor([1.0, 0.5]))
    # node 1: (4 + 1 * 0 + 0.5 * 1) / (1 + 1.5); the others have no incoming edge
    assert out.flatten().tolist() == pytest.approx([0.0, 4.5 / 2.5, 1.0])


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_equals_a_dense_loop_with_gradients(hops):
    torch.manual_seed(hops)
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    source, target = (torch.rand(7, 7) < 0.4).nonzero(as_tuple=True)
    edge_index = torch.stack([source, target])
    weight = torch.rand(source.numel(), dtype=torch.float64, requires_grad=True)
    out, expected = Propagation(hops)(x, edge_index, weight), dense_propagation(x, edge_index, weight, hops)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(out)
    actual = torch.autograd.grad((out * direction).sum(), (x, weight))
    wanted = torch.autograd.grad((expected * direction).sum(), (x, weight))
    torch.testing.assert_close(actual, wanted, rtol=1e-10, atol=1e-12)


def test_no_hops_return_the_features():
    x = torch.randn(3, 2)
    assert torch.equal(Propagation(0)(x, torch.tensor([[0], [1]]), torch.tensor([0.3])), x)


def test_an_isolated_node_keeps_its_features():
    x = torch.randn(3, 2)
    assert torch.equal(Propagation(3)(x, torch.tensor([[1], [0]]), torch.tensor([0.3]))[2], x[2])
    assert torch.equal(Propagation(3)(x, torch.empty(2, 0, dtype=torch.long)), x)


def test_without_weights_it_is_the_plain_mean():
    x = torch.tensor([[0.0], [3.0], [6.0]])
    edge_index = torch.tensor([[1, 2], [0, 0]])
    assert Propagation()(x, edge_index).flatten().tolist() == pytest.approx([3.0, 3.0, 6.0])


def test_equal_features_stay_as_they_are():
    x = torch.full((4, 2), 3.0)
    edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    torch.testing.assert_close(Propagation(5)(x, edge_index, torch.tensor([0.1, 0.9, 1.0, 0.0])), x)


def test_nothing_is_learned():
    assert list(Propagation(2).parameters()) == []


def test_negative_hops_are_refused():
    with pytest.raises(InputError, match="hops=-1"):
        Propagation(-1)


def test_a_layer_equals_its_equation():
    """x_i <- x_i + ReLU(W_1 x_i + W_2 mean_{j -> i}(A_ji x_j)), PyG's GraphConv: lin_root is W_1, lin_rel W_2."""
    torch.manual_seed(0)
    gnn = TokenGNN(3, hops=2).double()
    start = torch.randn(5, 3, dtype=torch.float64)
    edge_index = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 1, 0, 3, 3]])  # node 4 has no incoming edge
    weight = torch.rand(6, dtype=torch.float64)
    x = start
    for layer in gnn.layers:
        rows = []
        for i in range(5):
            edges = [e for e in range(6) if edge_index[1, e] == i]
            mean = sum((weight[e] * x[edge_index[0, e]] for e in edges), start.new_zeros(3)) / max(len(edges), 1)
            rows.append(x[i] + torch.relu(layer.lin_root(x[i]) + layer.lin_rel(mean)))
        x = torch.stack(rows)
    torch.testing.assert_close(gnn(start, edge_index, weight), x, rtol=1e-10, atol=1e-12)


def test_no_layers_return_the_features_and_have_no_parameters():
    gnn = TokenGNN(3, hops=0)
    x = torch.randn(4, 3)
    assert torch.equal(gnn(x, torch.tensor([[0], [1]])), x)
    assert list(gnn.parameters()) == []


def test_every_parameter_and_the_weights_receive_a_gradient():
    torch.manual_seed(0)
    gnn = TokenGNN(4, hops=1)
    weight = torch.rand(3, requires_grad=True)
    gnn(torch.randn(3, 4), torch.tensor([[0, 1, 2], [1, 2, 0]]), weight).sum().backward()
    assert weight.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in gnn.parameters())


def test_a_negative_number_of_layers_is_refused():
    with pytest.raises(InputError, match="hops=-2"):
        TokenGNN(3, -2)


X = torch.tensor([[1.0, -1.0], [3.0, -5.0], [10.0, 20.0]])
BATCH = torch.tensor([0, 0, 1])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mean", [[2, -3], [10, 20]]), ("max", [[3, -1], [10, 20]]), ("sum", [[4, -6], [10, 20]])],
)
def test_pools_each_graph(kind, expected):
    assert Readout(kind)(X, BATCH, 2).tolist() == expected


def test_unknown_pooling_names_the_choices():
    with pytest.raises(InputError, match="readout=median: choose mean, max, sum"):
        Readout("median")
