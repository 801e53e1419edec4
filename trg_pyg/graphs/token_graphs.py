"""The token graphs of two networks: what a method joins, and how much of the teacher's graph a student has."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch

from trg_pyg._transfer import in_double
from trg_pyg.errors import InputError
from trg_pyg.graphs.base import GraphBuilder, Scope
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.recall import chance_recall, corrected_recall, edge_recall
from trg_pyg.relations.kernels import Gaussian
from trg_pyg.tokens.normalize import tell_of_zeros
from trg_pyg.tokens.tokenizer import Tokenizer

Measures = dict[str, float | None]


@dataclass(frozen=True)
class TokenGraphs:
    """Which tokens there are, and how they are joined.

    Attributes:
        tokenize: cuts the last maps of student and teacher.
        edges: builder of the graph whose neighbours the student is to learn, from tokens as they are cut.
        inner_on_graph: contextual similarity is over an image's graph, not over all its tokens.
        of_method: they are the method's own, not TRG's by default.
    """

    tokenize: Tokenizer
    edges: GraphBuilder
    inner_on_graph: bool = False
    of_method: bool = True

    @classmethod
    def of(cls, tokenize: Tokenizer, edges: GraphBuilder) -> "TokenGraphs | None":
        """Return those of a builder; ``None`` where its edges do not depend on the tokens alone, as on a grid."""
        draws = (torch.Generator().manual_seed(seed) for seed in (0, 1))
        try:
            one, other = (edges(torch.randn(32, tokenize.num_tokens, 4, generator=draw)) for draw in draws)
            same = edge_recall(one, other) == 1
        except InputError:  # it needs classes, or joins nothing
            return None
        return None if same else cls(tokenize, edges)

    @property
    def k(self) -> int | None:
        """Neighbours of a token that are asked for; ``None`` where the builder has no such number."""
        return getattr(self.edges, "k", None)

    def builder(self, scope: Scope) -> GraphBuilder:
        """Return what builds the graph of tokens ``[B, n, D]``, of each image or of the batch.

        Its weights are the method's, or Gaussian where it has none.
        """
        builder = copy.copy(self.edges)
        builder.scope, builder.weight = scope, self.edges.weight or Gaussian()
        return builder

    def graph(self, tokens: Tensor, scope: Scope, reverses: bool = True) -> Batch | None:
        """Return the graph to look for in that of another network, without weights; ``None`` where there is none.

        Of K tokens or fewer each is joined to all others, whatever they are: there is nothing to look for.

        Args:
            tokens: ``[B, n, D]``.
            scope: of each image, or of the batch.
            reverses: keep the reverses of edges that a symmetric kNN graph adds.
        """
        tell_of_zeros(tokens)
        builder = self.builder(scope)
        builder.weight = None
        if isinstance(builder, KNNGraph):
            builder.at_most, builder.symmetric = False, builder.symmetric and reverses
        try:
            return builder(tokens)
        except InputError:
            return None

    def measure(self, student: Tensor, teacher: Tensor, target: Tensor | None, tail: Tensor | None) -> Measures:
        """Compare the graphs of two networks on the same tokens, without the reverses of edges.

        A graph that :meth:`graph` does not have has no measures; a share of no edges is ``None``.

        Args:
            student: tokens ``[B, n, D_S]``.
            teacher: tokens ``[B, n, D_T]``.
            target: classes of the images, ``[B]``; ``None`` where they have not one each.
            tail: whether a class has medium or few training images, ``[C]``; ``None`` where the set has no long tail.

        Returns:
            Shares in [0, 1], see :class:`~trg_pyg.look.diagnosis.Diagnosis`.
        """
        images, tokens, _ = teacher.shape
        measures: Measures = {}
        own = wanted = None
        scopes: tuple[Scope, ...] = ("image", "batch")
        for scope in scopes:
            own, wanted = (self.graph(x, scope, reverses=False) for x in (student, teacher))
            if own is None or wanted is None:
                continue
            recall = edge_recall(own, wanted).item() if wanted.num_edges else None
            measures[f"recall/{scope}"] = recall
            measures[f"recall/{scope}_chance"] = chance = chance_recall(own)
            measures[f"recall/{scope}_corrected"] = None if recall is None else corrected_recall(recall, chance)
        if own is None or wanted is None:
            return measures
        seen = {"": _cross_edges(wanted, target, tail), "_student": _cross_edges(own, target, tail)}
        names = [name for name in ("same_class", "tail") if name in seen[""]]
        measures |= {"cross/share": seen[""]["share"], "cross/student": seen["_student"]["share"]}
        measures["cross/share_chance"] = tokens * (images - 1) / (images * tokens - 1)
        for name in names:
            measures |= {f"cross/{name}{whose}": edges[name] for whose, edges in seen.items()}
        if target is None:
            return measures
        # Random edges to other images: those of the class that are left, among all images that are left.
        same = in_double((target[:, None] == target).sum(1)) - 1
        measures["cross/same_class_chance"] = (same.mean() / (images - 1)).item() if images > 1 else None
        if tail is not None:
            measures["cross/tail_chance"] = in_double(tail[target]).mean().item()
        return measures


def _cross_edges(graph: Batch, target: Tensor | None, tail: Tensor | None) -> Measures:
    """Return the share of a batch graph's edges that leave an image, and what part of these joins which classes."""
    source, sink = graph.image[graph.edge_index]
    cross = source != sink
    if target is None:
        return {"share": _share(cross)}
    source, sink = target[source[cross]], target[sink[cross]]
    measures = {"share": _share(cross), "same_class": _share(source == sink)}
    return measures if tail is None else measures | {"tail": _share(tail[source])}


def _share(marks: Tensor) -> float | None:
    return in_double(marks).mean().item() if len(marks) else None
