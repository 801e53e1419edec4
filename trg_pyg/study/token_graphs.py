"""The token graphs of two networks: built as the method at hand builds them, or as TRG does by default."""

import inspect
from dataclasses import dataclass

from torch import Tensor
from torch_geometric.data import Batch

from trg_pyg._transfer import in_double
from trg_pyg.distillers.base import Distiller
from trg_pyg.distillers.trg import TRG
from trg_pyg.graphs.base import Scope
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.recall import edge_recall
from trg_pyg.models.taps import FeatureInfo
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian
from trg_pyg.tokens.tokenizer import Tokenizer

Measures = dict[str, float | None]


@dataclass(frozen=True)
class TokenGraphs:
    """How tokens are joined.

    Attributes:
        tokenize: cuts the last maps of student and teacher.
        k: neighbours of a token.
        normalize: unit-length tokens before distances and weights.
        symmetric: every edge has its reverse.
        weight: of an edge.
        scope: of the graph whose neighbours the student is to learn.
        inner_on_graph: contextual similarity is over an image's graph, not over all its tokens.
        of_method: they are the method's own, not TRG's by default.
    """

    tokenize: Tokenizer
    k: int
    normalize: bool
    symmetric: bool = False
    weight: EdgeRelation = Gaussian()  # noqa: RUF009 - a weight has no state
    scope: Scope = "batch"
    inner_on_graph: bool = True
    of_method: bool = True

    @classmethod
    def of(cls, distiller: Distiller, student: FeatureInfo, teacher: FeatureInfo) -> "TokenGraphs":
        """Return those of a distiller for the last taps of two networks.

        A method that builds no token graphs by itself, as TRG does, gets those of TRG by default. Its number of tokens
        is more than some grids have; of these all tokens are taken.
        """
        if isinstance(distiller, TRG):
            graph = distiller.joint_graph
            assert graph.weight is not None
            return cls(
                distiller.tokenize,
                graph.k,
                distiller.normalize,
                graph.symmetric,
                graph.weight,
                graph.scope,
                distiller.inner_on_graph,
            )
        default = {name: option.default for name, option in inspect.signature(TRG).parameters.items()}
        every = Tokenizer(student, teacher, patch=default["patch"])
        tokens = min(default["tokens_per_image"], every.num_tokens)
        tokenize = Tokenizer(student, teacher, patch=default["patch"], tokens_per_image=tokens)
        return cls(
            tokenize,
            default["k"],
            default["normalize"],
            default["symmetric"],
            Gaussian(default["sigma"]),
            default["scope"],
            default["inner_structure"] == "graph",
            of_method=False,
        )

    def builder(self, scope: Scope) -> KNNGraph:
        """Return what builds the graph of tokens ``[B, n, D]``, of each image or of the batch, with its weights."""
        return KNNGraph(self.k, self.weight, normalize=self.normalize, scope=scope, symmetric=self.symmetric)

    def measure(self, student: Tensor, teacher: Tensor, target: Tensor, tail: Tensor | None) -> Measures:
        """Compare the kNN graphs of two networks on the same tokens, without the reverses of edges.

        A graph that cannot be, of fewer than K + 1 tokens, has no measures; a share of no edges is ``None``.

        Args:
            student: tokens ``[B, n, D_S]``.
            teacher: tokens ``[B, n, D_T]``.
            target: classes of the images, ``[B]``.
            tail: whether a class has medium or few training images, ``[C]``; ``None`` where the set has no long tail.

        Returns:
            Shares in [0, 1], see :class:`~trg_pyg.look.diagnosis.Diagnosis`.
        """
        images, tokens, _ = teacher.shape
        measures: Measures = {}
        if self.k < tokens:
            image = KNNGraph(self.k, None, normalize=self.normalize, scope="image")
            measures["recall/image"] = edge_recall(image(student), image(teacher)).item()
            measures["recall/image_chance"] = self.k / (tokens - 1)
        if self.k >= images * tokens:
            return measures
        batch = KNNGraph(self.k, None, normalize=self.normalize, scope="batch")
        own, wanted = batch(student), batch(teacher)
        measures["recall/batch"] = edge_recall(own, wanted).item()
        measures["recall/batch_chance"] = self.k / (images * tokens - 1)
        seen = {"": _cross_edges(wanted, target, tail), "_student": _cross_edges(own, target, tail)}
        names = ["same_class"] if tail is None else ["same_class", "tail"]
        measures |= {"cross/share": seen[""]["share"], "cross/student": seen["_student"]["share"]}
        measures["cross/share_chance"] = tokens * (images - 1) / (images * tokens - 1)
        for name in names:
            measures |= {f"cross/{name}{whose}": edges[name] for whose, edges in seen.items()}
        # Random edges to other images: those of the class that are left, among all images that are left.
        same = in_double((target[:, None] == target).sum(1)) - 1
        measures["cross/same_class_chance"] = (same.mean() / (images - 1)).item() if images > 1 else None
        if tail is not None:
            measures["cross/tail_chance"] = in_double(tail[target]).mean().item()
        return measures


def _cross_edges(graph: Batch, target: Tensor, tail: Tensor | None) -> Measures:
    """Return the share of a batch graph's edges that leave an image, and what part of these joins which classes."""
    source, sink = graph.image[graph.edge_index]
    cross = source != sink
    source, sink = target[source[cross]], target[sink[cross]]
    measures = {"share": _share(cross), "same_class": _share(source == sink)}
    return measures if tail is None else measures | {"tail": _share(tail[source])}


def _share(marks: Tensor) -> float | None:
    return in_double(marks).mean().item() if len(marks) else None
