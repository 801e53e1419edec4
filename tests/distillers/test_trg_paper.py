"""TRGPaper from features to parts, against the paper's equations in float64 (arXiv 2306.12442), nothing shared."""

import math

import pytest
import torch
from pairs import pairs
from torch import Tensor

from trg_pyg.distillers import TRGPaper
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs

IMAGES, SIDE, K = 3, 3, 4
N = SIDE * SIDE
M = IMAGES * N


def network(width: int) -> NetworkInfo:
    return NetworkInfo(5, (FeatureInfo("layer3", "map", width, (SIDE, SIDE)),))


def tokens_of(feature_map: Tensor) -> Tensor:
    """One token for each cell of the map, row by row."""
    cells = [feature_map[b, :, i, j] for b in range(IMAGES) for i in range(SIDE) for j in range(SIDE)]
    return torch.stack(cells)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def adjacency(tokens: Tensor, sigma: float) -> Tensor:
    """A_ij = exp(-|t_i - t_j|^2 / (2 sigma)) if i in kNN(j) among all tokens of the batch, else 0; unit tokens."""
    t = tokens / tokens.norm(dim=1, keepdim=True)
    squared = (t[:, None] - t[None]).square().sum(-1)
    to_others = squared.detach() + torch.diag(torch.full((M,), math.inf))
    neighbours = torch.zeros(M, M)
    for j in range(M):
        neighbours[to_others[:, j].argsort()[:K], j] = 1
    return (-squared / (2 * sigma)).exp() * neighbours


def local(student: Tensor, teacher: Tensor, sigma: float) -> Tensor:
    """Sum over nodes of KL(S || T) between the softmaxes of the rows of A^S and A^T."""
    p_s, p_t = adjacency(student, sigma).softmax(1), adjacency(teacher, sigma).softmax(1)
    return sum(kl(p_s[i], p_t[i]) for i in range(M))


def inner(student: Tensor, teacher: Tensor) -> Tensor:
    """Per image CS = softmax(F F^T / sqrt(D)), MSE between CS_T and CS_S."""
    errors = []
    for f_s, f_t in zip(student.split(N), teacher.split(N), strict=True):
        cs_s = (f_s @ f_s.T / f_s.shape[1] ** 0.5).softmax(1)
        cs_t = (f_t @ f_t.T / f_t.shape[1] ** 0.5).softmax(1)
        errors.append((cs_t - cs_s).square().mean())
    return torch.stack(errors).mean()


def contrast(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """InfoNCE of projected tokens, cosine similarity over tau: sum over anchors."""
    a, b = student / student.norm(dim=1, keepdim=True), teacher / teacher.norm(dim=1, keepdim=True)
    return -(a @ b.T / tau).log_softmax(1).diagonal().sum()


@pytest.mark.parametrize(("seed", "sigma", "progress"), pairs(range(2), [1.0, 0.3], [0.0, 0.6]))
def test_parts_equal_the_papers_equations_from_the_features_on(seed, sigma, progress):
    torch.manual_seed(seed)
    distiller = TRGPaper(
        network(6), network(4), tokens_per_image=None, k=K, sigma=sigma, reduction="sum", projection_dim=7
    ).double()
    map_s = torch.randn(IMAGES, 6, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    map_t = torch.randn(IMAGES, 4, SIDE, SIDE, dtype=torch.float64)
    student, teacher = tokens_of(map_s), tokens_of(map_t)
    tau = 0.07 + (0.5 - 0.07) * (1 + math.cos(math.pi * progress)) / 2
    projected = [
        tokens @ layer.weight.T + layer.bias
        for tokens, layer in (
            (student, distiller.contrast.project_student),
            (teacher, distiller.contrast.project_teacher),
        )
    ]
    expected = {
        "inner": inner(student, teacher),
        "local": local(student, teacher, sigma),
        "global": contrast(*projected, tau),
    }
    parts = distiller.relations(student.view(IMAGES, N, 6), teacher.view(IMAGES, N, 4), progress)
    assert parts.keys() == expected.keys()
    leaves = [map_s, *distiller.parameters()]
    for name, value in expected.items():
        part = parts[name][1]
        torch.testing.assert_close(part, value, rtol=1e-6, atol=1e-12, msg=name)
        actual = torch.autograd.grad(part, leaves, allow_unused=True, materialize_grads=True, retain_graph=True)
        wanted = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True, retain_graph=True)
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-9, msg=name)


def test_forward_cuts_the_maps_in_tokens_and_adds_logit_distillation(step):
    torch.manual_seed(0)
    distiller = TRGPaper(network(6), network(4), tokens_per_image=None, k=K).double()
    map_s, map_t = (torch.randn(IMAGES, width, SIDE, SIDE, dtype=torch.float64) for width in (6, 4))
    logits_s, logits_t = torch.randn(2, IMAGES, 5, dtype=torch.float64)
    losses = distiller(Outputs(logits_s, (map_s,)), Outputs(logits_t, (map_t,)), step(progress=0.5))
    p_t, p_s = (logits_t / 4).softmax(1), (logits_s / 4).softmax(1)
    student, teacher = tokens_of(map_s), tokens_of(map_t)
    a, b = distiller.contrast.project_student(student), distiller.contrast.project_teacher(teacher)
    expected = {
        "ce": -logits_s.log_softmax(1)[range(IMAGES), step().target].mean(),
        "kd": 16 * kl(p_t, p_s) / IMAGES,
        "inner": inner(student, teacher),
        "local": local(student, teacher, 1.0) / M,
        "global": contrast(a, b, (0.5 + 0.07) / 2) / M,  # half way down the cosine
    }
    assert losses.parts.keys() == expected.keys()
    for name, value in expected.items():
        assert losses.parts[name].item() == pytest.approx(value.item(), rel=1e-6), name
    weights = {"ce": 1.0, "kd": 1.0, "inner": 16.0, "local": 50.0, "global": 0.5}
    assert losses.total.item() == pytest.approx(sum(w * expected[n].item() for n, w in weights.items()), rel=1e-6)


def test_means_by_default_instead_of_sums():
    torch.manual_seed(0)
    student, teacher = torch.randn(IMAGES, N, 6), torch.randn(IMAGES, N, 4)
    mean = TRGPaper(network(6), network(4), tokens_per_image=None, k=K)
    total = TRGPaper(network(6), network(4), tokens_per_image=None, k=K, reduction="sum")
    total.load_state_dict(mean.state_dict())
    of_mean, of_total = mean.relations(student, teacher, 0.5), total.relations(student, teacher, 0.5)
    for name, factor in (("inner", 1), ("local", M), ("global", M)):
        torch.testing.assert_close(of_total[name][1], factor * of_mean[name][1], rtol=1e-5, atol=1e-6)


def test_no_graph_matching():
    distiller = TRGPaper(network(6), network(4), tokens_per_image=None, k=K)
    assert distiller.match is None
    assert "graph" not in distiller.relations(torch.randn(IMAGES, N, 6), torch.randn(IMAGES, N, 4), 0.0)


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError, match="alhpa"):
        TRGPaper(network(6), network(4), alhpa=1.0)


@pytest.mark.parametrize(("tokens", "images"), [(16, 1), (2, 1), (1, 2)])
def test_a_joint_graph_needs_two_tokens(networks, tokens, images, outputs, step):
    distiller = TRGPaper(*networks, tokens_per_image=tokens)
    assert distiller.min_images == images
    assert distiller(*outputs(images), step(images)).total.isfinite()
