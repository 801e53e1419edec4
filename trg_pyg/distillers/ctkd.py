"""Curriculum temperature."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from trg_pyg._transfer import in_double
from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller, check_warmup, warmed_up
from trg_pyg.errors import check_positive
from trg_pyg.losses.base import check_logits
from trg_pyg.losses.logit import standardized
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision


class CTKD(TermDistiller):
    r"""Logit distillation at a temperature that learns to make it harder (Li et al., arXiv 2211.16231).

    .. math:: L = \tau^2 \, \mathrm{KL}\big(\mathrm{softmax}(z^T / \tau) \,\Vert\, \mathrm{softmax}(z^S / \tau)\big),
        \qquad \tau = \tau_0 + s \, \mathrm{sigmoid}(\theta)

    :math:`\theta` is one number, of all images, which begins at 1. Its gradient is turned round, so that it climbs
    where the student descends: times :math:`-\lambda`, and :math:`\lambda` grows from 0 to 1 along a cosine over
    ``warmup``. Options are those of the public code, whose warm-up is 10 of 240 epochs.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        weight: weight of the distillation.
        lowest: :math:`\tau_0`, which the temperature stays above.
        span: s; the temperature stays below ``lowest`` and this together.
        warmup: share of the training in which :math:`\lambda` grows.
        standardize: z-score each row of both networks' logits, see :func:`~trg_pyg.losses.logit.standardized`: for this
            loss, and for logit distillation.
        **options: kd_weight and tau of TermDistiller, which are of distillation at a fixed temperature beside it.

    Raises:
        InputError: a weight is negative, ``lowest`` or ``span`` is not positive, ``warmup`` is not in [0, 1], or the
            networks have different numbers of classes.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 0.1,
        weight: float = 0.9,
        lowest: float = 1.0,
        span: float = 20.0,
        warmup: float = 1 / 24,
        standardize: bool = False,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_warmup(warmup)
        term = _Curriculum(lowest, span, warmup, standardize)
        terms: dict[str, tuple[float, Term]] = {"ctkd": (weight, term)}
        super().__init__(student, teacher, ce_weight=ce_weight, standardize=standardize, terms=terms, **options)


class _Curriculum(Term):
    def __init__(self, lowest: float, span: float, warmup: float, standardize: bool) -> None:
        super().__init__()
        check_positive("lowest", lowest)
        check_positive("span", span)
        self.lowest, self.span, self.warmup, self.standardize = lowest, span, warmup, standardize
        self.theta = nn.Parameter(torch.ones(()))

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the divergence, whose gradient of the temperature is turned round."""
        check_logits(student.logits, teacher.logits)
        strength = (1 - math.cos(math.pi * warmed_up(step, self.warmup))) / 2
        z_s, z_t = full_precision(student.logits), full_precision(teacher.logits.detach())
        if self.standardize:
            z_s, z_t = standardized(z_s), standardized(z_t)
        # At a high temperature the loss hardly depends on it: of its slope float32 would leave two digits.
        theta, double_s, double_t = in_double(self.theta), in_double(z_s), in_double(z_t)
        fixed = theta.detach()
        # In value theta, in gradient -strength times it.
        tau = self.lowest + self.span * (fixed - strength * (theta - fixed)).sigmoid()
        log_s, log_t = log_softmax(double_s / tau, dim=1), log_softmax(double_t / tau, dim=1)
        return (tau**2 * kl_div(log_s, log_t, reduction="batchmean", log_target=True)).to(z_s)
