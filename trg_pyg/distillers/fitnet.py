"""Hints."""

from typing import Any, ClassVar

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.map_term import MapTerm
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.errors import require
from trg_pyg.losses.hint import HintLoss
from trg_pyg.models.taps import FeatureInfo, NetworkInfo
from trg_pyg.tasks.base import Task
from trg_pyg.tokens.maps import plane_of


class FitNet(TermDistiller):
    """The teacher's map of one stage as a hint for the student's (Romero et al., arXiv 1412.6550).

    A convolution with batch norm and ReLU brings the student's map to the teacher's shape; squared error. In one stage
    of training with the other losses, as the public CIFAR-100 benchmarks run it, whose weight and layer these are.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the hint.
        hint: stage of both networks that is compared, from 1 for the first tap; negative counts from the last.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, or a
            network has no such stage.
    """

    taps: ClassVar[Taps] = "stages"
    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 100.0,
        hint: int = 2,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        s = _tap(student, hint, "student")
        t = _tap(check_networks(student, teacher), hint, "teacher")
        stage = _stage(hint)
        loss = HintLoss(s.channels, t.channels, plane_of(s.grid), plane_of(t.grid))
        super().__init__(student, teacher, terms={"hint": (weight, MapTerm(loss, s, t, stage, stage))}, **options)


def _stage(hint: int) -> int:
    return hint - 1 if hint > 0 else hint


def _tap(network: NetworkInfo, hint: int, owner: str) -> FeatureInfo:
    taps = network.features
    found = ", ".join(tap.path for tap in taps) or "none"
    require(
        1 <= abs(hint) <= len(taps),
        f"hint={hint}: the {owner} has {len(taps)} tapped features ({found}), of which the first is hint=1 and the "
        f"last hint=-1; choose one of them, or name more modules in {owner}.taps",
    )
    return taps[_stage(hint)]
