import math

import pytest
import torch
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph
from trg_pyg.relations import Cosine, Gaussian, squared_distances

EDGES = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 0, 3, 3]])  # with a self loop at node 3


def gaussian(x: Tensor, edge_index: Tensor, sigma: float) -> list[float]:
    """A_ij = exp(-|t_i - t_j|^2 / (2 sigma))"""
    weights = []
    for i, j in edge_index.T.tolist():
        squared = sum((a - b) ** 2 for a, b in zip(x[i].tolist(), x[j].tolist(), strict=True))
        weights.append(math.exp(-squared / (2 * sigma)))
    return weights


def draw(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def test_sigma_is_not_squared():
    x = torch.tensor([[0.0], [2.0]])
    weight = Gaussian(sigma=4.0).between(x, torch.tensor([[0], [1]]))
    assert weight.tolist() == pytest.approx([math.exp(-0.5)])


@pytest.mark.parametrize("sigma", [0.01, 0.5, 1.0, 30.0])
def test_gaussian_equals_its_formula(sigma):
    x = draw()
    assert Gaussian(sigma).between(x, EDGES).tolist() == pytest.approx(gaussian(x, EDGES, sigma), rel=1e-12)


def test_auto_sigma_is_the_mean_squared_length_of_the_edges():
    x = draw()
    sigma = squared_distances(x, EDGES).mean().item()
    assert Gaussian("auto").between(x, EDGES).tolist() == pytest.approx(gaussian(x, EDGES, sigma), rel=1e-12)


def test_auto_sigma_does_not_depend_on_the_scale_of_the_features():
    x = draw()
    torch.testing.assert_close(Gaussian("auto").between(x * 1e3, EDGES), Gaussian("auto").between(x, EDGES))


def test_no_gradient_flows_through_auto_sigma():
    x = draw().requires_grad_()
    (auto,) = torch.autograd.grad(Gaussian("auto").between(x, EDGES).sum(), x)
    fixed = squared_distances(x.detach(), EDGES).mean().item()
    (expected,) = torch.autograd.grad(Gaussian(fixed).between(x, EDGES).sum(), x)
    torch.testing.assert_close(auto, expected)


def test_auto_sigma_of_duplicates_gives_weight_one():
    x = torch.ones(4, 3, requires_grad=True)
    weight = Gaussian("auto").between(x, EDGES)
    weight.sum().backward()
    assert weight.tolist() == [1.0] * 5
    assert torch.equal(x.grad, torch.zeros(4, 3))


def test_duplicates_have_weight_exactly_one():
    x = (draw(torch.float32) * 100 + 7)[:1].expand(4, 3)
    assert Gaussian().between(x, EDGES).tolist() == [1.0] * 5


def test_cosine_equals_its_formula():
    x = draw()
    expected = []
    for i, j in EDGES.T.tolist():
        a, b = x[i].tolist(), x[j].tolist()
        expected.append(sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b)))
    assert Cosine().between(x, EDGES).tolist() == pytest.approx(expected, rel=1e-12)


def test_cosine_with_a_zero_vector_is_zero_with_a_finite_gradient():
    x = draw()
    x[0] = 0
    x.requires_grad_()
    weight = Cosine().between(x, EDGES)
    weight.sum().backward()
    assert weight[0] == 0
    assert weight[4] == 0
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("weight", [Gaussian(), Gaussian(0.3), Cosine()])
def test_gradcheck(weight):
    edges = EDGES[:, :3]
    assert torch.autograd.gradcheck(lambda x: weight.between(x, edges), (draw().requires_grad_(),))


@pytest.mark.parametrize("weight", [Gaussian(), Gaussian("auto"), Cosine()])
def test_no_edges_no_weights(weight):
    assert weight.between(draw(), torch.empty(2, 0, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize("sigma", [0, -1.0, math.nan, "big"])
def test_impossible_scale_is_named(sigma):
    with pytest.raises(InputError, match=f"sigma={sigma}"):
        Gaussian(sigma)


@pytest.mark.parametrize("weight", [Gaussian(), Gaussian("auto"), Cosine()])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("normalize", [True, False])
def test_graphs_of_half_precision_tokens_have_float32_weights(weight, dtype, normalize):
    tokens = draw().view(1, 4, 3).to(dtype)
    builder = KNNGraph(2, weight, normalize=normalize)
    graph, reference = builder(tokens), builder(tokens.double())
    assert graph.edge_weight.dtype == torch.float32
    assert torch.equal(graph.edge_index, reference.edge_index)
    torch.testing.assert_close(graph.edge_weight.double(), reference.edge_weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [Gaussian(), Gaussian("auto"), Cosine()])
def test_autocast_does_not_lower_the_precision_of_weights(weight):
    tokens = draw(torch.float32).view(1, 4, 3).requires_grad_()
    builder = KNNGraph(2, weight)
    with torch.autocast("cpu", torch.bfloat16):
        graph = builder(tokens)
    assert graph.edge_weight.dtype == torch.float32
    torch.testing.assert_close(graph.edge_weight, builder(tokens).edge_weight)
    graph.edge_weight.sum().backward()
    assert tokens.grad.isfinite().all()
