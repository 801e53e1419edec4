"""Normalised knowledge distillation."""

from typing import Any, ClassVar

from torch import Tensor

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.nkd import NKDLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step


class NKD(TermDistiller):
    """The teacher's probability of the label, and the normalised others (Yang et al., arXiv 2303.13005).

    Options are the defaults of the public code, those of ImageNet; for its CIFAR-100 pair of ResNets it has ``tau`` 3
    and ``gamma`` 3.5.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        weight: weight of the loss.
        gamma: weight of the other classes within it.
        tau: temperature of the other classes, and of logit distillation.
        **options: ce_weight, kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, or the networks have different numbers of classes.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        gamma: float = 1.5,
        tau: float = 1.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        terms: dict[str, tuple[float, Term]] = {"nkd": (weight, Normalised(NKDLoss(gamma, tau)))}
        super().__init__(student, teacher, tau=tau, terms=terms, **options)


class Normalised(Term):
    """The loss of the logits, of images of one class each.

    Args:
        loss: of logits and labels.
    """

    def __init__(self, loss: NKDLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits."""
        return self.loss(student.logits, teacher.logits, step.target)
