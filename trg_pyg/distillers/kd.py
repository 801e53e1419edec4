"""Logit distillation."""

from typing import ClassVar

from trg_pyg.distillers.base import Taps
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.tasks.base import Task


class KD(TermDistiller):
    """Knowledge distillation of Hinton et al. (arXiv 1503.02531).

    ``ce_weight * CE + kd_weight * tau^2 KL(T || S)``; the default weights are those that the public CIFAR-100
    benchmarks use for KD alone.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        kd_weight: weight of the distillation term.
        tau: temperature of the logits.
        standardize: z-score each row of both networks' logits first, see
            :func:`~trg_pyg.losses.logit.standardized`; ``LSKD`` has the options published for it.
        decoupled: beta of decoupled distillation, see TermDistiller; 0 is the plain one.

    Raises:
        InputError: a weight is negative, tau is not positive, or the networks have different numbers of classes.
    """

    taps: ClassVar[Taps] = "none"
    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 0.1,
        kd_weight: float = 0.9,
        tau: float = 4.0,
        standardize: bool = False,
        decoupled: float = 0.0,
    ) -> None:
        super().__init__(
            student,
            teacher,
            ce_weight=ce_weight,
            kd_weight=kd_weight,
            tau=tau,
            standardize=standardize,
            decoupled=decoupled,
        )
