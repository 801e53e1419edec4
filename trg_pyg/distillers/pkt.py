"""Probabilistic knowledge transfer."""

from typing import Any

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.kl import KL
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.nodes.images import Instances
from trg_pyg.relations.kernels import Cosine
from trg_pyg.relations.scaled import Scaled


class PKT(TermDistiller):
    """How likely each image of a batch has each other as a neighbour (Passalis and Tefas, arXiv 1803.10837).

    Images, complete graph with loops, (cosine + 1) / 2 with rows that sum to 1, mean over B^2 of P_T log(P_T / P_S).
    The weight is that of the public CIFAR-100 benchmarks.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the divergence.
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
        weight: float = 30000.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        images = Instances(student, check_networks(student, teacher))
        pairs = CompleteGraph(None, self_loops=True)
        relation = Scaled(Cosine(shifted=True), by="sum")
        super().__init__(
            student,
            teacher,
            terms={"probability": (weight, Relational(images, pairs, relation, KL(reduction="entries", eps=1e-7)))},
            **options,
        )
