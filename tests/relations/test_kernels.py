import math

import loss_equations as equations
import pytest
import torch
from inputs import HARD
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph
from trg_pyg.relations import (
    Cosine,
    Distance,
    DotProduct,
    EdgeRelation,
    Gaussian,
    Laplace,
    TaylorGaussian,
    squared_distances,
)

ALL_PAIRS = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T  # self loops too
EDGES = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 0, 3, 3]])  # with a self loop at node 3


def distance(a: Tensor, b: Tensor, loop: bool) -> Tensor:
    squared = ((a - b) ** 2).sum()
    if loop:
        return squared * 0
    return squared.sqrt() if squared > 1e-12 else squared * 0 + 1e-6


def taylor(a: Tensor, b: Tensor, gamma: float, order: int) -> Tensor:
    cosine = (equations.unit(a) * equations.unit(b)).sum()
    powers = [torch.ones_like(cosine)]
    for _ in range(order):
        powers.append(powers[-1] * cosine)
    terms = [math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * powers[p] for p in range(order + 1)]
    return torch.stack(terms).sum()


FORMULAS = {
    "distance": (Distance(), distance),
    "squared distance": (Distance(squared=True), lambda a, b, loop: ((a - b) ** 2).sum()),
    "laplace": (Laplace(2.0), lambda a, b, loop: (-(a - b).abs().sum() / 2).exp()),
    "product": (DotProduct(), lambda a, b, loop: (a * b).sum()),
    "scaled product": (DotProduct(scaled=True), lambda a, b, loop: (a * b).sum() / math.sqrt(len(a))),
    "cosine": (Cosine(), lambda a, b, loop: (equations.unit(a) * equations.unit(b)).sum()),
    "shifted cosine": (
        Cosine(shifted=True),
        lambda a, b, loop: ((equations.unit(a) * equations.unit(b)).sum() + 1) / 2,
    ),
    "taylor": (TaylorGaussian(), lambda a, b, loop: taylor(a, b, 0.4, 2)),
    "taylor of order 5": (TaylorGaussian(1.5, 5), lambda a, b, loop: taylor(a, b, 1.5, 5)),
    "constant": (TaylorGaussian(0.5, 0), lambda a, b, loop: (a * 0).sum() + math.exp(-1)),
}


# few: dot products are gathered
@pytest.mark.parametrize(("name", "kind", "edges"), pairs(FORMULAS, ["random", *HARD], ["all pairs", "few"]))
def test_equals_its_formula(name, kind, edges, hard, close):
    relation, formula = FORMULAS[name]
    edge_index = ALL_PAIRS if edges == "all pairs" else ALL_PAIRS[:, 1::6]
    x = hard(kind, 6, 4).requires_grad_()
    value = relation(Data(x=x, edge_index=edge_index))
    expected = torch.stack([formula(x[i], x[j], i == j) for i, j in edge_index.T.tolist()])
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-12)
    weight = torch.arange(1.0, len(value) + 1, dtype=value.dtype)
    close((value * weight).sum(), (expected * weight).sum(), [x])


def test_distances_written_out():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]], requires_grad=True)
    edge_index = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 1]])
    length = Distance().between(x, edge_index)
    assert length.tolist() == pytest.approx([5.0, 5.0, 1e-6, 0.0], rel=1e-6)
    assert length[3] == 0
    assert Distance(squared=True).between(x, edge_index).tolist() == [25.0, 25.0, 0.0, 0.0]
    length.sum().backward()
    # Both edges pull the first node; duplicates and loops pass nothing.
    torch.testing.assert_close(x.grad, torch.tensor([[-1.2, -1.6], [1.2, 1.6], [0.0, 0.0]]))


def test_kernels_written_out():
    x = torch.tensor([[0.0, 0.0], [3.0, -4.0]])
    edge_index = torch.tensor([[0, 0], [1, 0]])
    assert Laplace().between(x, edge_index).tolist() == pytest.approx([math.exp(-0.07), 1.0])
    unit = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    pairs = torch.tensor([[0, 0, 0], [0, 1, 2]])  # cosines 1, 0, -1
    weight = math.exp(-0.8)
    expected = [weight * (1 + 0.8 + 0.32), weight, weight * (1 - 0.8 + 0.32)]
    assert TaylorGaussian(gamma=0.4, order=2).between(unit, pairs).tolist() == pytest.approx(expected)
    assert Cosine(shifted=True).between(unit, pairs).tolist() == [1.0, 0.5, 0.0]
    assert DotProduct(scaled=True).between(unit, pairs).tolist() == pytest.approx([4 / 2**0.5, 0, -2 / 2**0.5])


def test_the_series_approaches_the_gaussian_of_unit_vectors(hard):
    x = hard("random", 6, 4)
    unit = torch.stack([equations.unit(row) for row in x])
    gaussian = Gaussian(sigma=1 / 1.4).between(unit, ALL_PAIRS)  # exp(-0.7 |x - y|^2)
    series = TaylorGaussian(gamma=0.7, order=20).between(x, ALL_PAIRS)
    torch.testing.assert_close(series, gaussian, rtol=1e-9, atol=0)


@pytest.mark.parametrize("relation", [entry[0] for entry in FORMULAS.values()], ids=FORMULAS)
def test_gradcheck(relation):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    assert torch.autograd.gradcheck(lambda x: relation.between(x, edge_index), (x,))


@pytest.mark.parametrize("name", ["cosine", "product", "taylor", "distance", "laplace"])
def test_equal_graphs_of_a_batch_are_not_mixed_up(name, hard):
    """Dense products are made graph by graph."""
    relation: EdgeRelation = FORMULAS[name][0]
    x, edge_index = hard("random", 18, 4), torch.cat([ALL_PAIRS, ALL_PAIRS + 6, ALL_PAIRS + 12], dim=1)
    torch.testing.assert_close(relation.between(x, edge_index, 3), relation.between(x, edge_index, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Laplace(0), "scale=0: it must be positive"),
        (lambda: Laplace(math.nan), "scale=nan"),
        (lambda: TaylorGaussian(gamma=-1), "gamma=-1: it must be positive"),
        (lambda: TaylorGaussian(order=-1), "order=-1: the last power of the series is 0 or more"),
    ],
)
def test_impossible_options_are_refused_when_built(make, message):
    with pytest.raises(InputError, match=message):
        make()


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
    for scale in (1e3, 1e-9):
        torch.testing.assert_close(Gaussian("auto").between(x * scale, EDGES), Gaussian("auto").between(x, EDGES))


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


def test_cosine_with_a_zero_vector_is_zero_with_a_finite_gradient():
    x = draw()
    x[0] = 0
    x.requires_grad_()
    weight = Cosine().between(x, EDGES)
    weight.sum().backward()
    assert weight[0] == 0
    assert weight[4] == 0
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("sigma", [1.0, 0.3])
def test_gradcheck_of_the_gaussian(sigma):
    edges = EDGES[:, :3]
    assert torch.autograd.gradcheck(lambda x: Gaussian(sigma).between(x, edges), (draw().requires_grad_(),))


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
