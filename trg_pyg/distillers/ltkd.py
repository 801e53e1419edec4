"""Distillation from a teacher that prefers frequent classes."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.ltkd import LTKDLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step


class LTKD(TermDistiller):
    """Groups of classes by frequency, balanced between them and equal within (Kim, arXiv 2506.18496).

    Weights and temperature of the paper are not known to us; these are ours.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        weight: weight of the loss.
        alpha: weight of what is between groups.
        beta: weight of what is within them.
        tau: temperature of the logits.
        **options: ce_weight, kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, or less
            than 3.
    """

    taps: ClassVar[Taps] = "none"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        alpha: float = 1.0,
        beta: float = 1.0,
        tau: float = 4.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        classes = check_networks(student, teacher).num_classes
        terms: dict[str, tuple[float, Term]] = {"ltkd": (weight, _Groups(LTKDLoss(classes, alpha, beta, tau)))}
        super().__init__(student, teacher, tau=tau, terms=terms, **options)


class _Groups(Term):
    def __init__(self, loss: LTKDLoss) -> None:
        super().__init__()
        self.loss = loss

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Let the loss see how frequent the classes are."""
        self.loss.bind(targets, generator)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits."""
        return self.loss(student.logits, teacher.logits)
