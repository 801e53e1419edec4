"""Which pixels belong together: affinities of embeddings and of labels, and losses of them."""

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.losses.base import DistillationLoss, check_maps
from trg_pyg.models.unet import PIXEL_EMBEDDING
from trg_pyg.tokens.normalize import l2_normalize

# How far above, and how far to the left of a pixel its partners are: K = 10 offsets, (s, 0) first, then (0, s).
DISTANCES = (1, 3, 5, 9, 27)
# The rarer kind of affinities weighs as if it had at least this share of all.
_LEAST_SHARE = 0.05


def pixel_embedding(logits: Tensor) -> Tensor:
    """Return the embedding of each pixel, the last ``PIXEL_EMBEDDING`` channels.

    Raises:
        InputError: the logits are not ``[B, channels, H, W]`` with more channels than these.
    """
    require(
        logits.dim() == 4 and logits.shape[1] > PIXEL_EMBEDDING,
        f"logits {tuple(logits.shape)}: [images, classes + {PIXEL_EMBEDDING}, height, width] are needed, such as unet "
        "gives",
    )
    return logits[:, -PIXEL_EMBEDDING:]


def affinities(embedding: Tensor) -> Tensor:
    r"""Return how like each pixel is to its partners, cosines in [-1, 1] (GRD, arXiv 2401.06370).

    .. math:: a_k(x) = \langle e(x), e(x + o_k) \rangle

    with e of unit length and offsets :math:`o_k` up and to the left by 1, 3, 5, 9 and 27 pixels. Beyond the border an
    image goes on with its other side.

    Args:
        embedding: ``[B, D, H, W]``.

    Returns:
        ``[B, 10, H, W]``, float32 at least.
    """
    unit = l2_normalize(embedding.movedim(1, -1)).movedim(-1, 1).contiguous()  # sums over rows are slower
    return torch.stack([(unit * unit.roll(s, axis)).sum(1) for axis in (2, 3) for s in DISTANCES], dim=1)


def label_affinities(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pixels have the label of their partners, background being a label, and where partners are inside.

    Args:
        labels: whole numbers ``[B, H, W]``, 0 of background.

    Returns:
        Two bool tensors ``[B, 10, H, W]``; pixels whose partner is outside count as alike.
    """
    inside = []
    for axis in (1, 2):
        place = torch.arange(labels.shape[axis], device=labels.device).view(-1, *[1] * (2 - axis))
        inside += [(place >= s).expand(labels.shape[1:]) for s in DISTANCES]
    within = torch.stack(inside).expand(len(labels), -1, -1, -1)
    alike = torch.stack([labels == labels.roll(s, axis) for axis in (1, 2) for s in DISTANCES], dim=1)
    return alike | ~within, within


def affinity_loss(embedding: Tensor, labels: Tensor) -> Tensor:
    r"""Return how far the affinities of each image are from those of its labels (GRD, arXiv 2401.06370).

    .. math:: L = \sum_k \frac{1}{HW} \sum_x w\, m_k (a_k(x) - l_k(x))^2

    where :math:`m_k` leaves out partners outside the image. Of the two kinds of :math:`l`, the one with the smaller
    share q of the image's has weight :math:`w = (1 - q) / q`, q at least 0.05, and the other 1.

    Args:
        embedding: ``[B, D, H, W]``.
        labels: int64 ``[B, H, W]``, 0 of background.

    Returns:
        ``[B]``, float32 at least.
    """
    found = affinities(embedding)
    alike, within = label_affinities(labels)
    truth = alike.to(found.dtype)
    share = truth.mean((1, 2, 3), keepdim=True)
    rare = torch.where(share < 0.5, share, 1 - share).clamp(min=_LEAST_SHARE)
    weight = torch.where(alike == (share < 0.5), (1 - rare) / rare, 1.0)
    return (weight * within * (found - truth).square()).mean((2, 3)).sum(1)


class AffinityLoss(DistillationLoss):
    r"""Affinity graph distillation: the pixels' affinities are to be the teacher's (GRD, arXiv 2401.06370).

    .. math:: L = \sum_k \frac{1}{BHW} \sum_{b,x} (a^S_k(x) - a^T_k(x))^2

    of :func:`affinities`, those across the border included, as in the authors' code.

    Shapes:
        embeddings ``[B, D_S, H, W]`` and ``[B, D_T, H, W]`` -> scalar.

    Raises:
        InputError: the two are no maps of as many images and pixels.
    """

    compares = "maps"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss."""
        check_maps(student, teacher)
        require(
            student.shape[2:] == teacher.shape[2:],
            f"student map {tuple(student.shape)} and teacher map {tuple(teacher.shape)}: give both of one grid",
        )
        return (affinities(student) - affinities(teacher.detach())).square().mean((0, 2, 3)).sum()
