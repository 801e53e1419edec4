"""Distilling virtual examples."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import InputError, check_positive
from trg_pyg.losses.class_counts import class_counts
from trg_pyg.losses.logit import LogitKD
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision


class DiVE(TermDistiller):
    r"""A flattened teacher beside balanced softmax (He et al., arXiv 2103.15042).

    .. math:: L = w_{CE} \, \mathrm{CE}(z^S + \log \pi, y) + w \, \tau^2 \, \mathrm{KL}(\hat p^T \Vert p^S), \qquad
        \hat p^T_k \propto (p^T_k)^\gamma

    p are the softmaxes at temperature tau and :math:`\pi` the shares of the classes in the training set. Where the
    recipe corrects the prior itself (``train.logit_adjustment``), its correction is taken instead. The public teacher
    was trained with balanced softmax, too.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        ce_weight: weight of balanced softmax on the labels.
        weight: weight of the distillation.
        tau: temperature of the logits.
        gamma: exponent of the teacher's probabilities; 1 leaves them.
        **options: kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau or gamma is not positive, or the networks have different numbers of
            classes; when training starts, a class has no image.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 0.5,
        weight: float = 0.5,
        tau: float = 2.0,
        gamma: float = 0.5,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_positive("gamma", gamma)
        terms: dict[str, tuple[float, Term]] = {"dive": (weight, _Flattened(tau, gamma))}
        super().__init__(student, teacher, ce_weight=ce_weight, tau=tau, terms=terms, **options)
        self.classes = student.num_classes
        self.register_buffer("log_prior", None, persistent=False)

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Count the classes."""
        super().bind(targets, generator)
        counts = class_counts(targets, self.classes)
        self.log_prior = (counts / counts.sum()).log().float()

    def supervised(self, student: Outputs, step: Step) -> dict[str, Tensor]:
        """Return the task's parts, of logits to which the log prior is added where the recipe adds none."""
        if step.prior is None:
            if self.log_prior is None:
                raise InputError("how many images each class has is not known: call bind(targets, generator)")
            student = student._replace(logits=full_precision(student.logits) + self.log_prior)
        return super().supervised(student, step)


class _Flattened(Term):
    def __init__(self, tau: float, gamma: float) -> None:
        super().__init__()
        self.loss, self.gamma = LogitKD(tau), gamma

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the distillation of the logits."""
        # A power of a softmax, renormalised, is the softmax of as many times the logits.
        return self.loss(student.logits, self.gamma * full_precision(teacher.logits))
