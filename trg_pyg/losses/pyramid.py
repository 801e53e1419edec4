"""Maps compared on several grids."""

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import mse_loss

from trg_pyg.errors import require
from trg_pyg.losses.base import DistillationLoss, check_maps
from trg_pyg.tokens.maps import pool_to_grid
from trg_pyg.tokens.normalize import full_precision

_GRIDS = (4, 2, 1)


class PyramidLoss(DistillationLoss):
    r"""Mean squared difference of two maps on ever coarser grids: HCL of ReviewKD (Chen et al., arXiv 2104.09044).

    .. math:: L = \frac{\sum_l 2^{-l} \, \mathrm{MSE}(P_l F_S, P_l F_T)}{\sum_l 2^{-l}}

    with the maps as they are for l = 0, and then averaged to grids of 4x4, 2x2 and 1x1, as far as these are smaller
    than both sides of the map.

    Shapes:
        - student and teacher map ``[B, C, H, W]``

    Raises:
        InputError: they are not two maps of one shape.
    """

    compares: ClassVar[Literal["rows", "maps", "graphs"]] = "maps"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the weighted mean, 0 where the maps are equal."""
        check_maps(student, teacher)
        require(
            student.shape == teacher.shape,
            f"student map {tuple(student.shape)} and teacher map {tuple(teacher.shape)}: they are compared value by "
            "value; bring them to one shape",
        )
        student, teacher = full_precision(student), full_precision(teacher.detach())
        total, weight, weights = mse_loss(student, teacher), 1.0, 1.0
        for side in _GRIDS:
            if side < min(student.shape[2:]):
                weight /= 2
                weights += weight
                coarse = pool_to_grid(student, (side, side)), pool_to_grid(teacher, (side, side))
                total = total + weight * mse_loss(*coarse)
        return total / weights
