"""Variational information distillation."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_maps
from trg_pyg.tokens.maps import common_grid, pool_to_grid
from trg_pyg.tokens.normalize import check_type, full_precision


class VIDLoss(DistillationLoss):
    r"""How well the student's map predicts the teacher's: variational information distillation (arXiv 1904.05835).

    .. math:: L = \mathrm{mean}\Big( \tfrac{1}{2} \Big[ \frac{(\mu_c(F_S) - F_{T,c})^2}{\sigma_c^2}
        + \log \sigma_c^2 \Big] \Big), \qquad \sigma_c^2 = \mathrm{softplus}(\alpha_c) + \epsilon

    over all entries: the negative logarithm of a Gaussian with a learned variance for each of the teacher's channels,
    without its constant, so it may be negative. :math:`\mu` is three 1x1 convolutions without bias, with ReLU between
    them and as many channels as the teacher inside. The finer map is first average-pooled to the coarser one's grid.

    Args:
        student_channels: channels of the student's map.
        teacher_channels: channels of the teacher's map.
        init_variance: variance of each channel at the start.
        eps: least variance.

    Shapes:
        - student map ``[B, C_S, H_S, W_S]``, teacher map ``[B, C_T, H_T, W_T]``

    Raises:
        InputError: a size is not positive, the first variance is not above eps, or the maps are of other channels.
    """

    compares: ClassVar[Literal["rows", "maps", "graphs"]] = "maps"

    def __init__(
        self, student_channels: int, teacher_channels: int, init_variance: float = 5.0, eps: float = 1e-5
    ) -> None:
        super().__init__()
        require(
            min(student_channels, teacher_channels) >= 1,
            f"prediction of {teacher_channels} channels from {student_channels}: channels must be at least 1",
        )
        check_positive("eps", eps)
        require(init_variance > eps, f"init_variance={init_variance}: it must be above eps={eps}, the least variance")
        self.channels, self.eps = (student_channels, teacher_channels), eps
        self.regressor = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        above = init_variance - eps
        # The inverse of softplus, log(e^v - 1), without e^v.
        self.log_scale = nn.Parameter(torch.full((teacher_channels,), above + math.log(-math.expm1(-above))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean over all entries; least where the prediction is exact and the variance 0."""
        check_maps(student, teacher, self.channels)
        grid = common_grid((student.shape[2], student.shape[3]), (teacher.shape[2], teacher.shape[3]))
        with torch.autocast(student.device.type, enabled=False):
            student = full_precision(student)
            check_type(student, self.log_scale)
            predicted = self.regressor(pool_to_grid(student, grid))
            wanted = pool_to_grid(full_precision(teacher.detach()), grid)
            variance = (softplus(self.log_scale) + self.eps).view(-1, 1, 1)
            return 0.5 * ((predicted - wanted).square() / variance + variance.log()).mean()
