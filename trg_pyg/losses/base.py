"""The contract of a loss."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class DistillationLoss(nn.Module, ABC):
    """Compares a student with its teacher.

    The result is a scalar in float32 (float64 for float64 input). No gradient reaches the teacher: it is detached
    inside. The type of ``forward``'s arguments says what a loss compares: tensors, or token graphs.
    """

    @abstractmethod
    def forward(self, student: Any, teacher: Any) -> Tensor:
        """Return the loss."""
