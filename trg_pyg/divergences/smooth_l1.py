"""Huber's error at threshold 1."""

from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from trg_pyg.divergences.pointwise import PointwiseDivergence


class SmoothL1(PointwiseDivergence):
    """Mean over all values of half the squared difference up to 1, and of the difference less 1/2 beyond."""

    def each(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the error of each value."""
        return smooth_l1_loss(student, teacher, reduction="none")
