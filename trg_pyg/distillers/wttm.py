"""Weighted transformed teacher matching."""

from typing import Any, ClassVar

from torch import Tensor

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.wttm import WTTMLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step


class WTTM(TermDistiller):
    """A teacher that is flattened, and a student at temperature 1 (Zheng and Yang, arXiv 2402.11148).

    Args:
        student: the student's classes.
        teacher: the teacher's.
        weight: weight of the loss; published per pair, 45 for vgg13 -> vgg8 on CIFAR-100.
        gamma: exponent of the teacher's probabilities, in (0, 1]; 0.1 for the same pair.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, gamma is not in (0, 1], or the networks have different numbers of classes.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 45.0,
        gamma: float = 0.1,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        super().__init__(student, teacher, terms={"wttm": (weight, _Matched(WTTMLoss(gamma)))}, **options)


class _Matched(Term):
    def __init__(self, loss: WTTMLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits."""
        return self.loss(student.logits, teacher.logits)
