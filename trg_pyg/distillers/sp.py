"""Similarity-preserving distillation."""

from typing import Any, ClassVar

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.pointwise import MSE
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.nodes.images import FlattenedMaps
from trg_pyg.relations.kernels import DotProduct
from trg_pyg.relations.scaled import Scaled
from trg_pyg.tasks.base import Task


class SP(TermDistiller):
    """Which images of a batch activate a network alike (Tung and Mori, arXiv 1907.09682).

    Flattened last maps, complete graph, dot product with rows of unit length, squared error over B^2. The weight is
    that of the public CIFAR-100 benchmarks.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the similarity term.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, or the networks have different numbers of classes.
    """

    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)
    by_rows = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 3000.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        maps = FlattenedMaps(student, check_networks(student, teacher))
        pairs = CompleteGraph(None, self_loops=True)
        super().__init__(
            student,
            teacher,
            terms={"similarity": (weight, Relational(maps, pairs, Scaled(DotProduct(), by="norm"), MSE()))},
            **options,
        )
