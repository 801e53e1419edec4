import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.nn import TokenGNN


def test_equals_its_equation():
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


def test_no_hops_return_the_features_and_have_no_parameters():
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


def test_negative_hops_are_refused():
    with pytest.raises(InputError, match="hops=-2"):
        TokenGNN(3, -2)
