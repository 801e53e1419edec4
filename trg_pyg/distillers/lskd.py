"""Distillation of standardised logits."""

from typing import ClassVar

from trg_pyg.distillers.base import Taps
from trg_pyg.distillers.kd import KD
from trg_pyg.models.taps import NetworkInfo


class LSKD(KD):
    """Logit distillation of z-scored logits (Sun et al., arXiv 2403.01427): KD with ``standardize`` on.

    The options are those of the public code for CIFAR-100; it prints the best epoch, tables here the last. The same
    for any other method is its option ``standardize``.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        kd_weight: weight of the distillation term.
        tau: temperature of the standardised logits.

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
        ce_weight: float = 0.1,
        kd_weight: float = 9.0,
        tau: float = 2.0,
    ) -> None:
        super().__init__(student, teacher, ce_weight=ce_weight, kd_weight=kd_weight, tau=tau, standardize=True)
