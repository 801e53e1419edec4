"""Graphs of the instances of images, all pairs joined: what is compared of them."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from trg_pyg._transfer import can_look
from trg_pyg.errors import require
from trg_pyg.tokens.normalize import full_precision, l2_normalize

WINDOW = 7


def instance_means(embedding: Tensor, labels: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the mean embedding of each instance of each image, and which instances there are.

    Args:
        embedding: ``[B, D, H, W]``.
        labels: int64 ``[B, H, W]``, 0 of background, instances from 1 to at most ``most``.
        most: L, places for instances.

    Returns:
        ``[B, L, D]``, float32 at least and 0 where there is no such instance, and bool ``[B, L]``.

    Raises:
        InputError: an instance has a higher number; their values are looked at where that costs no wait.
    """
    if can_look(labels):
        highest = int(labels.max())
        require(highest <= most, f"instance {highest} of an image, and there are places for {most}: bind the labels")
    pixels = full_precision(embedding).movedim(1, -1).flatten(0, 2)
    first = torch.arange(len(labels), device=labels.device).view(-1, 1, 1) * (most + 1)
    of = (labels + first).flatten()
    sums = pixels.new_zeros(len(labels) * (most + 1), pixels.shape[1]).index_add(0, of, pixels)
    sizes = pixels.new_zeros(len(sums)).index_add(0, of, torch.ones_like(pixels[:, 0]))
    means = (sums / sizes.clamp(min=1).unsqueeze(1)).view(len(labels), most + 1, -1)
    return means[:, 1:], sizes.view(len(labels), -1)[:, 1:] > 0


def window_means(embedding: Tensor) -> Tensor:
    """Return unit embeddings averaged in windows of 7 x 7, ``[B, windows, D]``; those at the border may be smaller.

    Args:
        embedding: ``[B, D, H, W]``.
    """
    unit = l2_normalize(embedding.movedim(1, -1)).movedim(-1, 1)
    return avg_pool2d(unit, WINDOW, WINDOW, ceil_mode=True).flatten(2).mT


def node_error(student: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
    r"""Return how far instances are from the teacher's (GRD, arXiv 2401.06370).

    .. math:: L = \frac{1}{B} \sum_b \frac{1}{n_b} \sum_i \lVert v^S_i - v^T_i \rVert_2

    An image without an instance counts as 0.

    Args:
        student: v^S, ``[B, L, D]``.
        teacher: v^T, ``[B, L, D]``.
        there: bool ``[B, L]``.
    """
    far = torch.linalg.vector_norm(student - teacher, dim=2) * there
    return (far.sum(1) / there.sum(1).clamp(min=1)).mean()


def edge_error(student: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
    r"""Return how far the cosines of the instances of an image are from the teacher's (GRD, arXiv 2401.06370).

    .. math:: L = \frac{1}{B} \sum_b \frac{1}{n_b^2} \sum_{i,j} \big(\cos(v^S_i, v^S_j) - \cos(v^T_i, v^T_j)\big)^2

    This is :class:`~trg_pyg.losses.relational.RelationalLoss` of ``Cosine`` and ``MSE`` on a complete graph of each
    image, where images have different numbers of nodes. One without an instance counts as 0.

    Args:
        student: v^S, ``[B, L, D]``, 0 where there is no instance.
        teacher: v^T, ``[B, L, D]``.
        there: bool ``[B, L]``.
    """
    student, teacher = l2_normalize(student), l2_normalize(teacher)
    pairs = there.sum(1).square().clamp(min=1)
    return ((student @ student.mT - teacher @ teacher.mT).square().sum((1, 2)) / pairs).mean()


def bank_edge_error(
    student: Tensor, teacher: Tensor, there: Tensor, bank: Tensor, bank_there: Tensor, filled: Tensor
) -> Tensor:
    r"""Return how far the cosines to instances of other images are from the teacher's (GRD, arXiv 2401.06370).

    .. math:: L = \frac{1}{MB} \sum_{m,b} \frac{1}{n_b n_m} \sum_{i \in b, j \in m}
        \big(\cos(v^S_i, v_j) - \cos(v^T_i, v_j)\big)^2

    Args:
        student: v^S, ``[B, L, D]``, 0 where there is no instance.
        teacher: v^T, ``[B, L, D]``.
        there: bool ``[B, L]``.
        bank: the teacher's instances of M other images, ``[M, L, D]``, 0 where there is none.
        bank_there: bool ``[M, L]``.
        filled: which of the M images count, bool ``[M]``; the mean is over these.
    """
    squares = _products(l2_normalize(student) - l2_normalize(teacher), l2_normalize(bank))
    pairs = (there.sum(1).unsqueeze(1) * bank_there.sum(1)).clamp(min=1)
    return _over_filled(squares / pairs, filled)


def bank_pixel_error(student: Tensor, teacher: Tensor, bank: Tensor, filled: Tensor) -> Tensor:
    r"""Return how far products with pixels of other images are from the teacher's (GRD, arXiv 2401.06370).

    .. math:: L = \frac{1}{MB} \sum_{m,b} \frac{1}{P^2} \sum_{x,y}
        \big(\langle g^S_b(x), g_m(y) \rangle - \langle g^T_b(x), g_m(y) \rangle\big)^2

    Args:
        student: g^S, :func:`window_means` ``[B, P, D]``.
        teacher: g^T, ``[B, P, D]``.
        bank: the teacher's of M other images, ``[M, P, D]``.
        filled: which of the M images count, bool ``[M]``; the mean is over these.
    """
    squares = _products(student - teacher, bank)
    return _over_filled(squares / (student.shape[1] * bank.shape[1]), filled)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of the squared products of all rows of ``[B, N, D]`` with all of ``[M, K, D]``, ``[B, M]``."""
    # Of the second moments of each side: N x K products need not exist.
    return torch.einsum("bcd,mcd->bm", one.mT @ one, other.mT @ other)


def _over_filled(values: Tensor, filled: Tensor) -> Tensor:
    return (values.mean(0) * filled).sum() / filled.sum().clamp(min=1)
