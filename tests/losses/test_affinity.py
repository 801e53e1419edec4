"""Affinities against loops in double precision."""

import pytest
import torch
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.losses import AffinityLoss, affinities, affinity_loss, label_affinities, pixel_embedding

OFFSETS = [(-s, 0) for s in (1, 3, 5, 9, 27)] + [(0, -s) for s in (1, 3, 5, 9, 27)]


def dense_affinity(e: Tensor, k: int, y: int, x: int) -> Tensor:
    """The cosine of a pixel of an image [D, H, W] and its partner, which may lie across the border."""
    down, right = OFFSETS[k]
    one, other = e[:, y, x], e[:, (y + down) % e.shape[1], (x + right) % e.shape[2]]
    return one @ other / (one.norm() * other.norm())


def dense_loss(e: Tensor, labels: Tensor) -> Tensor:
    """The affinity loss of an image."""
    height, width = labels.shape
    places = [(k, y, x) for k in range(10) for y in range(height) for x in range(width)]
    truth, inside = {}, {}
    for k, y, x in places:
        v, u = y + OFFSETS[k][0], x + OFFSETS[k][1]
        inside[k, y, x] = v >= 0 and u >= 0
        truth[k, y, x] = float(not inside[k, y, x] or labels[y, x] == labels[v, u])
    ones = sum(truth.values()) / len(truth)
    rare, share = (1.0, ones) if ones < 0.5 else (0.0, 1 - ones)
    share = max(share, 0.05)
    total = torch.zeros((), dtype=torch.float64)
    for place in places:
        weight = (1 - share) / share if truth[place] == rare else 1.0
        if inside[place]:
            total = total + weight * (dense_affinity(e, *place) - truth[place]) ** 2
    return total / (height * width)


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("kinds", [2, 12])
def test_the_loss_of_labels_is_the_equation_with_its_gradient(kinds):
    """With few labels other ones are the rare kind of affinities, with many like ones."""
    embedding = maps(2, 3, 6, 11)
    labels = torch.randint(kinds, (2, 6, 11), generator=torch.Generator().manual_seed(1))
    found = affinity_loss(embedding, labels)
    dense = torch.stack([dense_loss(e, each) for e, each in zip(embedding, labels, strict=True)])
    torch.testing.assert_close(found, dense)
    weights = torch.tensor([0.3, 1.7], dtype=torch.float64)
    grads = [torch.autograd.grad((weights * each).sum(), embedding)[0] for each in (found, dense)]
    torch.testing.assert_close(*grads)


def test_the_loss_of_two_networks_is_the_equation_with_its_gradient():
    student, teacher = maps(2, 3, 4, 5), maps(2, 6, 4, 5, seed=1)
    found = AffinityLoss()(student, teacher)
    squares = [
        (dense_affinity(s, k, y, x) - dense_affinity(t, k, y, x).detach()) ** 2
        for s, t in zip(student, teacher, strict=True)
        for k in range(10)
        for y in range(4)
        for x in range(5)
    ]
    dense = torch.stack(squares).sum() / (2 * 4 * 5)
    torch.testing.assert_close(found, dense)
    torch.testing.assert_close(*(torch.autograd.grad(each, student)[0] for each in (found, dense)))


def test_numbers_of_instances_are_names():
    labels = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    other = torch.tensor([[[0, 7, 7], [3, 3, 0]]])
    assert all(map(torch.equal, label_affinities(labels), label_affinities(other)))


def test_embeddings_of_one_direction_for_each_label_have_no_loss():
    labels = torch.tensor([[[0, 0, 1, 1], [0, 2, 2, 1]]])
    embedding = torch.eye(3)[labels].movedim(-1, 1) * torch.tensor([0.1, 5.0, 1.0, 3.0])
    assert affinity_loss(embedding, labels).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("label", [0, 1], ids=["no instance", "one that fills the image"])
def test_a_single_label_has_finite_gradients_without_a_class_balance(label):
    embedding = maps(1, 3, 30, 30)
    labels = torch.full((1, 30, 30), label)
    loss = affinity_loss(embedding, labels)
    _, inside = label_affinities(labels)
    torch.testing.assert_close(loss, (inside * (1 - affinities(embedding)) ** 2).mean((2, 3)).sum(1))
    loss.sum().backward()
    assert embedding.grad.isfinite().all()


def test_pixels_without_a_direction_have_affinity_0_and_no_gradient():
    embedding = torch.zeros(1, 4, 3, 3, requires_grad=True)
    affinity_loss(embedding, torch.zeros(1, 3, 3, dtype=torch.int64)).sum().backward()
    assert not affinities(embedding).any()
    assert not embedding.grad.any()


def test_half_precision_is_computed_in_float32():
    embedding = maps(1, 16, 8, 8).detach()
    assert affinities(embedding.half()).dtype == torch.float32
    torch.testing.assert_close(affinities(embedding.half()), affinities(embedding).float(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(2, 16, 4, 4), (2, 18)])
def test_logits_without_an_embedding_are_named(shape):
    with pytest.raises(InputError, match=rf"logits \({', '.join(map(str, shape))}\): \[images, classes \+ 16, "):
        pixel_embedding(torch.zeros(shape))


def test_maps_of_two_grids_are_refused():
    with pytest.raises(InputError, match="give both of one grid"):
        AffinityLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
