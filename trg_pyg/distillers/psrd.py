"""A projector, batch norm, and a logarithm."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import check_positive
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nn.projection import Projection
from trg_pyg.nodes.images import Instances
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision

# Added to the variance, as published; and to the sum, whose logarithm has no value at 0 (ours).
_EPS_OF_NORM, _EPS_OF_SUM = 1e-4, 1e-8


class PSRD(TermDistiller):
    r"""The projector's part in distillation (Miles and Mikolajczyk, arXiv 2303.11098), which calls itself SRD.

    .. math:: L = L_{CE} + L_{KD} + 2 \log \Big( \epsilon + \sum_{b d}
        \big\lvert \mathrm{BN}(W f^S_b)_d - \mathrm{BN}(f^T_b)_d \big\rvert^\alpha \Big)

    f are the images' embeddings, W a linear projection to the teacher's width, BN batch norm without scale and shift,
    of each network. The logarithm makes a large difference between a small and a large network count less. Options are
    those of the port by which its ImageNet figure was reproduced: alpha 4, weight 2, logit distillation of weight 1 at
    temperature 1. The :math:`\epsilon` of the sum is ours. Of a single image, batch norm has its running statistics.

    The class is named for its projector: :class:`~trg_pyg.distillers.srd.SRD` is another method.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the logarithm.
        exponent: alpha.
        kd_weight: weight of logit distillation.
        tau: its temperature.
        **options: ce_weight of TermDistiller.

    Raises:
        InputError: a weight is negative, tau or ``exponent`` is not positive, or the networks have different numbers of
            classes.
    """

    taps: ClassVar[Taps] = "last"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 2.0,
        exponent: float = 4.0,
        kd_weight: float = 1.0,
        tau: float = 1.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_positive("exponent", exponent)
        term = _LogSum(Instances(student, check_networks(student, teacher)), exponent)
        super().__init__(student, teacher, kd_weight=kd_weight, tau=tau, terms={"log_sum": (weight, term)}, **options)


class _LogSum(Term):
    def __init__(self, images: Instances, exponent: float) -> None:
        super().__init__()
        self.images, self.exponent, width = images, exponent, images.teacher_dim
        self.project = Projection(images.student_dim, width)
        self.norm_student, self.norm_teacher = (nn.BatchNorm1d(width, eps=_EPS_OF_NORM, affine=False) for _ in range(2))

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the logarithm of the sum over images and features."""
        (s,), (t,) = self.images(student, teacher, step)
        s, t = self.project(s), full_precision(t)
        with torch.autocast(s.device.type, enabled=False):
            difference = _normalised(s, self.norm_student) - _normalised(t, self.norm_teacher)
            return (difference.abs().pow(self.exponent).sum() + _EPS_OF_SUM).log()


def _normalised(rows: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    if len(rows) > 1:
        normalised: Tensor = norm(rows)
        return normalised
    return batch_norm(rows, norm.running_mean, norm.running_var, eps=norm.eps)
