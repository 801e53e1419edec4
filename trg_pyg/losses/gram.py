"""How alike the answers of two networks are, among images or among classes."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softmax

from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.tokens.normalize import full_precision


class ProbabilityGram(DistillationLoss):
    r"""Gram matrices of class probabilities (Jin et al., "Multi-Level Logit Distillation", CVPR 2023).

    .. math:: L = \sum_\tau \frac{1}{n} \big\Vert G(p^T_\tau) - G(p^S_\tau) \big\Vert_F^2

    p ``[B, classes]`` is the softmax at temperature tau. Between images, :math:`G(p) = p \, p^\top` and n is B; between
    classes, :math:`G(p) = p^\top p` and n is their number.

    Args:
        between: ``"images"`` or ``"classes"``.
        taus: temperatures, over which the loss is summed.

    Shapes:
        - student and teacher logits ``[B, classes]``

    Raises:
        InputError: a temperature is not positive, or there is none; the two networks have different numbers of classes.
    """

    def __init__(
        self, between: Literal["images", "classes"] = "images", taus: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0)
    ) -> None:
        super().__init__()
        check_choice("between", between, ("images", "classes"))
        require(len(taus) > 0, "taus: give a temperature")
        for tau in taus:
            check_positive("taus", tau)
        self.between, self.taus = between, tuple(taus)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the sum over the temperatures, 0 where the logits are equal up to a constant a row."""
        check_logits(student, teacher)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        with torch.autocast(student.device.type, enabled=False):
            apart = [self._gram(teacher / tau) - self._gram(student / tau) for tau in self.taus]
        return torch.stack(apart).square().sum() / len(apart[0])

    def _gram(self, logits: Tensor) -> Tensor:
        p = softmax(logits, dim=1)
        return p @ p.T if self.between == "images" else p.T @ p
