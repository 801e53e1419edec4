"""Decoupled knowledge distillation."""

from typing import Any, ClassVar

from torch import Tensor

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller, check_warmup, warmed_up
from trg_pyg.losses.dkd import DKDLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step


class DKD(TermDistiller):
    """Logit distillation with separate weights for the target class and the others (Zhao et al., arXiv 2203.08679).

    Args:
        student: the student's classes.
        teacher: the teacher's.
        tau: temperature of the logits.
        weight: weight of the decoupled loss after the warm-up.
        alpha: weight of the target class against the rest.
        beta: weight of the distribution among the others; published per pair, from 1 to 8.
        warmup: share of the training in which ``weight`` grows from 0; published as 20 of 240 epochs.
        standardize: z-score each row of both networks' logits, see :func:`~trg_pyg.losses.logit.standardized`: for this
            loss, and for logit distillation.
        **options: ce_weight and kd_weight of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, ``warmup`` is not in [0, 1], or the networks have
            different numbers of classes.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        tau: float = 4.0,
        weight: float = 1.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        warmup: float = 1 / 12,
        standardize: bool = False,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_warmup(warmup)
        terms: dict[str, tuple[float, Term]] = {"dkd": (weight, _Decoupled(DKDLoss(alpha, beta, tau, standardize)))}
        super().__init__(student, teacher, tau=tau, standardize=standardize, terms=terms, **options)
        self.warmup = warmup

    def weight_of(self, name: str, step: Step) -> float:
        """Return the weight, which grows linearly during the warm-up."""
        return warmed_up(step, self.warmup) * super().weight_of(name, step)


class _Decoupled(Term):
    def __init__(self, loss: DKDLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits."""
        return self.loss(student.logits, teacher.logits, step.target)
