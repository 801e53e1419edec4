"""Holistic knowledge distillation."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.nn import TAGConv

from trg_pyg.distillers.base import GraphSize, check_networks, check_weights, graph_size
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.divergences.bank_info_nce import bank_info_nce
from trg_pyg.divergences.pair_memory import PairMemory, Recall
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair
from trg_pyg.nodes.derived import Embedded, UnitLength
from trg_pyg.nodes.images import Instances, Probabilities
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision, l2_normalize


class HKD(TermDistiller):
    r"""Images by themselves and among their neighbours (Zhou et al., Distilling Holistic Knowledge, arXiv 2108.05507).

    Nodes: images in a unit-length linear embedding e. Edges: of each network, the K images whose class probabilities
    have the nearest cosine (the public code counts the image itself as one of its 8). Relation: e itself, and g, e
    after one hop of message passing (PyG's ``TAGConv``), at unit length. Divergence: InfoNCE of four anchors, e and g
    of both networks, against memories of e; the positive is the other network's memory of the image, for g mixed with
    that network's g of now (:math:`0.75 \, m + 0.25 \, g`); negatives are images of other classes.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        kd_weight: weight of logit distillation; 0 leaves it out.
        weight: weight of the sum of the four contrasts.
        dim: width of the embeddings and of the memory.
        k: neighbours of an image, or all others of the batch where they are fewer.
        negatives: images of other classes for each anchor, or auto: 16384, or as many as the training set has.
        bank: negatives from the other network's memory, or from the anchor's own, as the public code draws them.
        temperature: of the contrast.
        momentum: share of its old embedding that an image keeps in memory.
        smoothing: share of the memory in the positive of g.
        **options: ce_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, an option is impossible, or the networks have different numbers of classes;
            when training starts, the training set has fewer images of other classes than ``negatives``; in a step,
            sample positions are missing.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        kd_weight: float = 1.0,
        weight: float = 3.0,
        dim: int = 128,
        k: int = 8,
        negatives: int | Literal["auto"] = "auto",
        bank: Literal["other", "own"] = "own",
        temperature: float = 0.07,
        momentum: float = 0.9,
        smoothing: float = 0.75,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_choice("bank", bank, ("other", "own"))
        check_positive("temperature", temperature)
        require(0 <= smoothing <= 1, f"smoothing={smoothing}: it is a share, from 0 to 1")
        teacher = check_networks(student, teacher)
        term = _Holistic(student, teacher, dim, k, PairMemory(dim, negatives, momentum), bank, temperature, smoothing)
        super().__init__(student, teacher, kd_weight=kd_weight, terms={"holistic": (weight, term)}, **options)
        self.min_images = 2 if weight else 1


class _Holistic(Term):
    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo,
        dim: int,
        k: int,
        memory: PairMemory,
        bank: Literal["other", "own"],
        temperature: float,
        smoothing: float,
    ) -> None:
        super().__init__()
        self.images = UnitLength(Embedded(Instances(student, teacher), dim))
        self.classes = Probabilities(student, teacher)
        self.neighbours = KNNGraph(
            k, None, at_most=True
        )  # of unit vectors, so the nearest are those of the largest cosine
        self.pass_student, self.pass_teacher = TAGConv(dim, dim, K=1), TAGConv(dim, dim, K=1)
        self.memory, self.bank, self.temperature, self.smoothing = memory, bank, temperature, smoothing

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the memories."""
        self.memory.bind(targets, generator)

    def graph_size(self, images: int) -> GraphSize:
        """Return the size of the graph of the images."""
        return graph_size(self.neighbours, 1, images)

    def fitted(self, images: int) -> list[str]:
        """Say how many neighbours an image has, if the batch has fewer than was asked for."""
        return self.neighbours.fitted(images)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the sum of the four contrasts; in training mode, remember the embeddings afterwards."""
        (e_s,), (e_t,) = self.images(student, teacher, step)
        seen = self.memory.recall(step.target, step.index, step.generator)
        loss = self.compare(NodePair(e_s, e_t), self.classes(student, teacher, step), seen)
        if self.training:
            self.memory.update(step.index, e_s, e_t)
        return loss

    def compare(self, embeddings: NodePair, classes: NodePair, seen: Recall) -> Tensor:
        """Return the sum of the four contrasts of embeddings ``[B, d]``, joined by probabilities ``[1, B, C]``."""
        (e_s, e_t), (probability_s, probability_t) = embeddings, classes
        with torch.autocast(e_s.device.type, enabled=False):
            g_s = l2_normalize(self.pass_student(e_s, self.neighbours(probability_s.detach()).edge_index))
            g_t = l2_normalize(self.pass_teacher(e_t, self.neighbours(probability_t).edge_index))
        negatives_s, negatives_t = seen.teacher_pool, seen.student_pool
        if self.bank == "own":
            negatives_s, negatives_t = negatives_t, negatives_s
        contrasts = [
            (e_s, seen.teacher, negatives_s),
            (e_t, seen.student, negatives_t),
            (g_s, self._smooth(seen.teacher, g_t), negatives_s),
            (g_t, self._smooth(seen.student, g_s), negatives_t),
        ]
        return torch.stack([bank_info_nce(*each, seen.allowed, self.temperature) for each in contrasts]).sum()

    def _smooth(self, remembered: Tensor, current: Tensor) -> Tensor:
        return l2_normalize(self.smoothing * remembered + (1 - self.smoothing) * full_precision(current.detach()))
