"""Balanced knowledge distillation."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import InputError, require
from trg_pyg.losses.class_counts import class_counts
from trg_pyg.losses.logit import LogitKD
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision


class BKD(TermDistiller):
    r"""A teacher whose rare classes count more (Zhang et al., arXiv 2104.10510).

    .. math:: L = \mathrm{CE} + \tau^2 \, \mathrm{KL}(\hat p^T \Vert p^S), \qquad
        \hat p^T_k \propto p^T_k \, \frac{1 - \beta}{1 - \beta^{n_k}}

    p are the softmaxes at temperature tau, :math:`n_k` the training images of class k: its weight is one over its
    effective number of images. Before ``start`` all classes weigh 1, which is plain distillation.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        weight: weight of the distillation.
        tau: temperature of the logits.
        beta: of the effective number, in [0, 1); 0 weighs all classes alike.
        start: share of the training from which the classes are weighed; the public code has 0 for CIFAR-100 and 0.8
            for CIFAR-10.
        **options: ce_weight, kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, ``beta`` is not in [0, 1), ``start`` is not in [0, 1], or
            the networks have different numbers of classes; when training starts, a class has no image.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        tau: float = 2.0,
        beta: float = 0.9999,
        start: float = 0.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        require(0 <= beta < 1, f"beta={beta}: of the effective number of images it is from 0 to below 1")
        require(0 <= start <= 1, f"start={start}: it is a share of the training, from 0 to 1")
        classes = check_networks(student, teacher).num_classes
        terms: dict[str, tuple[float, Term]] = {"bkd": (weight, _Balanced(classes, tau, beta, start))}
        super().__init__(student, teacher, tau=tau, terms=terms, **options)


class _Balanced(Term):
    def __init__(self, classes: int, tau: float, beta: float, start: float) -> None:
        super().__init__()
        self.classes, self.beta, self.start = classes, beta, start
        self.loss = LogitKD(tau)
        self.register_buffer("log_weight", None, persistent=False)

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Weigh the classes by their numbers of images."""
        counts = class_counts(targets, self.classes)
        self.log_weight = -(1 - self.beta**counts).log().float()

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the distillation of the logits."""
        if self.log_weight is None:
            raise InputError("how many images each class has is not known: call bind(targets, generator)")
        if step.progress < self.start:
            return self.loss(student.logits, teacher.logits)
        # What a class weighs in the softmax is added before it.
        return self.loss(student.logits, full_precision(teacher.logits) + self.loss.tau * self.log_weight)
