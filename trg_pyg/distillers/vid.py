"""Variational information distillation."""

from typing import Any, ClassVar

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.map_term import MapTerm, stage_pairs
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.vid import VIDLoss
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.tasks.base import Task


class VID(TermDistiller):
    """A Gaussian guess of the teacher's maps from the student's, in every stage (Ahn et al., arXiv 1904.05835).

    The sum over pairs of stages, paired from the last one backwards. The weight and the initial variance are those of
    the public CIFAR-100 benchmarks.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of each stage.
        init_variance: variance of the guess before training.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau or the variance is not positive, or the networks have different numbers
            of classes.
    """

    taps: ClassVar[Taps] = "stages"
    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        init_variance: float = 5.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        terms: dict[str, tuple[float, Term]] = {}
        for stage, s, t in stage_pairs(student, check_networks(student, teacher)):
            loss = VIDLoss(s.channels, t.channels, init_variance)
            terms[f"information{stage}"] = (weight, MapTerm(loss, s, t, stage, stage))
        super().__init__(student, teacher, terms=terms, **options)
