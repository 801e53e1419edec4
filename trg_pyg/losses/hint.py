"""Feature regression."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, mse_loss, relu

from trg_pyg.errors import require
from trg_pyg.losses.base import DistillationLoss, check_maps
from trg_pyg.tokens.maps import common_grid, plane_of, pool_to_grid
from trg_pyg.tokens.normalize import check_type, full_precision

_LARGEST_KERNEL = 9


class HintLoss(DistillationLoss):
    r"""FitNet's hint (Romero et al., arXiv 1412.6550): the student's map, through a regressor, is the teacher's.

    .. math:: L = \mathrm{MSE}\big(\mathrm{ReLU}(\mathrm{BN}(\mathrm{conv}(F_S))), F_T\big)

    over all entries. The convolution is RepDistiller's: for a student grid twice the teacher's 3x3 with stride 2, for
    half of it a transposed 4x4 with stride 2, for equal or finer ones without padding, of kernel 1 + difference.
    Ours: where that kernel would be larger than 9, and where the student is coarser by another factor than 2 (which
    RepDistiller does not support), both maps are average-pooled to the coarser grid and the convolution is 1x1.

    In training mode batch norm uses the batch's statistics, except where there is a single value a channel (one image
    on a 1x1 grid), which has none: then the running ones.

    Args:
        student_channels: channels of the student's map.
        teacher_channels: channels of the teacher's map.
        student_grid: height and width of the student's map.
        teacher_grid: height and width of the teacher's map.

    Shapes:
        - student map ``[B, C_S, *student_grid]``, teacher map ``[B, C_T, *teacher_grid]``

    Raises:
        InputError: a size is not positive, or the maps are of others.
    """

    compares: ClassVar[Literal["rows", "maps", "graphs"]] = "maps"

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        student_grid: tuple[int, int],
        teacher_grid: tuple[int, int],
    ) -> None:
        super().__init__()
        s, t = (int(student_grid[0]), int(student_grid[1])), (int(teacher_grid[0]), int(teacher_grid[1]))
        require(
            min(student_channels, teacher_channels, *s, *t) >= 1,
            f"hint from {student_channels} channels on {_text(s)} to {teacher_channels} on {_text(t)}: "
            "channels and grids must be at least 1",
        )
        self.channels, self.grids = (student_channels, teacher_channels), (s, t)
        self.pool_to: tuple[int, int] | None = None
        kernel = (1 + s[0] - t[0], 1 + s[1] - t[1])
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if s == (2 * t[0], 2 * t[1]):
            self.conv = nn.Conv2d(*self.channels, 3, stride=2, padding=1)
        elif t == (2 * s[0], 2 * s[1]):
            self.conv = nn.ConvTranspose2d(*self.channels, 4, stride=2, padding=1)
        elif min(kernel) >= 1 and max(kernel) <= _LARGEST_KERNEL:
            self.conv = nn.Conv2d(*self.channels, kernel)
        else:
            self.pool_to = plane_of(common_grid(s, t))
            self.conv = nn.Conv2d(*self.channels, 1)
        self.norm = nn.BatchNorm2d(teacher_channels)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean squared difference."""
        return mse_loss(*self.compared(student, teacher))

    def compared(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's map through the regressor, and the teacher's."""
        check_maps(student, teacher, self.channels)
        for owner, feature_map, grid in zip(("student", "teacher"), (student, teacher), self.grids, strict=True):
            found = (feature_map.shape[2], feature_map.shape[3])
            require(
                found == grid,
                f"{owner} map on {_text(found)}, but the loss was made for {_text(grid)}: "
                "make it for images of the size that it is given",
            )
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = full_precision(student), full_precision(teacher.detach())
            check_type(student, self.conv.weight)
            if self.pool_to is not None:
                student, teacher = pool_to_grid(student, self.pool_to), pool_to_grid(teacher, self.pool_to)
            return relu(self._normalise(self.conv(student))), teacher

    def _normalise(self, x: Tensor) -> Tensor:
        norm = self.norm
        if x[:, 0].numel() > 1:
            return norm(x)
        return batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def _text(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
