"""Relational knowledge distillation."""

from typing import Any

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.pointwise import SmoothL1
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.nodes.images import Instances
from trg_pyg.relations.angle import Angle
from trg_pyg.relations.kernels import Distance
from trg_pyg.relations.scaled import Scaled


class RKD(TermDistiller):
    """Distances and angles between the images of a batch (Park et al., arXiv 1904.05068).

    Distance: images, complete graph, Euclidean distance over its mean, smooth L1. Angle: images, all triples, cosine
    at the anchor, smooth L1. Weights are those of the public CIFAR-100 benchmarks.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        distance_weight: weight of the distance term.
        angle_weight: weight of the angle term.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, or the networks have different numbers of classes.
    """

    by_rows = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        **options: Any,
    ) -> None:
        check_weights(distance_weight=distance_weight, angle_weight=angle_weight)
        images = Instances(student, check_networks(student, teacher))
        pairs = CompleteGraph(None, self_loops=True)
        super().__init__(
            student,
            teacher,
            terms={
                "distance": (distance_weight, Relational(images, pairs, Scaled(Distance(), by="mean"), SmoothL1())),
                "angle": (angle_weight, Relational(images, pairs, Angle(), SmoothL1())),
            },
            **options,
        )
        self.min_images = 3 if angle_weight else 1
