"""Attention transfer."""

from typing import Any, ClassVar

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.map_term import MapTerm, stage_pairs
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.attention import AttentionLoss
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.tasks.base import Task


class AT(TermDistiller):
    """Where in an image the channels are active, in every stage (Zagoruyko and Komodakis, arXiv 1612.03928).

    The sum over pairs of stages, paired from the last one backwards; the finer map of a pair is brought to the coarser
    grid. The weight is that of the public CIFAR-100 benchmarks.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of each stage.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, or the networks have different numbers of classes.
    """

    taps: ClassVar[Taps] = "stages"
    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1000.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        terms: dict[str, tuple[float, Term]] = {}
        for stage, s, t in stage_pairs(student, check_networks(student, teacher)):
            terms[f"attention{stage}"] = (weight, MapTerm(AttentionLoss(), s, t, stage, stage))
        super().__init__(student, teacher, terms=terms, **options)
