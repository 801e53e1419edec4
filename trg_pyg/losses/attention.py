"""Attention transfer."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from trg_pyg.losses.base import DistillationLoss, check_maps
from trg_pyg.tokens.maps import common_grid, pool_to_grid
from trg_pyg.tokens.normalize import full_precision, l2_normalize


class AttentionLoss(DistillationLoss):
    r"""Attention transfer (Zagoruyko and Komodakis, arXiv 1612.03928): where on the image a network is active.

    .. math:: a = \frac{v}{\lVert v \rVert}, \quad v = \mathrm{flatten}\Big(\frac{1}{C} \sum_c F_c^2\Big), \qquad
        L = \mathrm{mean}\big((a_S - a_T)^2\big)

    over all entries of all images. The finer map is first average-pooled to the coarser one's grid. A map of
    zeros has a = 0 and receives no gradient.

    Shapes:
        - student map ``[B, C_S, H_S, W_S]``, teacher map ``[B, C_T, H_T, W_T]``, or volumes ``[B, C, T, H, W]``

    Raises:
        InputError: they are not maps of as many images.
    """

    compares: ClassVar[Literal["rows", "maps", "graphs"]] = "maps"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss, 0 where both are active at the same places."""
        check_maps(student, teacher, volumes=True)
        grid = common_grid(student.shape[2:], teacher.shape[2:])
        with torch.autocast(student.device.type, enabled=False):
            return (_attention(student, grid) - _attention(teacher.detach(), grid)).square().mean()


def _attention(feature_map: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Unit-length attention ``[B, H * W]``, or ``[B, T * H * W]``."""
    x = pool_to_grid(full_precision(feature_map), grid).flatten(2)
    # Only the direction counts. At unit length the squares of small activations do not underflow, and those of large
    # ones do not overflow; for the same reason the channels are summed.
    unit = l2_normalize(x.flatten(1)).view_as(x)
    return l2_normalize(unit.square().sum(1))
