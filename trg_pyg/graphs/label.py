"""Graphs that know the classes of their nodes."""

from typing import Literal

from torch import Tensor

from trg_pyg.errors import InputError, check_choice, require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.graphs.complete import CompleteGraph


class LabelGraph(GraphBuilder):
    """Keeps of another builder's edges those whose ends are of the same class, or of different ones.

    The classes are those of the images: ``builder(tokens, labels)``, or the attribute ``y`` of a graph. How many edges
    there are depends on them, so that building the graph waits for a GPU and does not compile.

    Args:
        edges: builder of the edges to choose from; its weight, normalisation and scope are this builder's too.
        keep: ``"same"`` or ``"different"`` classes.

    Raises:
        InputError: there is no such choice; or, on building, no classes are given, or they are no whole numbers.
    """

    def __init__(
        self,
        edges: GraphBuilder = CompleteGraph(),  # noqa: B008 - a builder has no state
        keep: Literal["same", "different"] = "same",
    ) -> None:
        super().__init__(edges.weight, normalize=edges.normalize, scope=edges.scope)
        check_choice("keep", keep, ("same", "different"))
        self.edges, self.keep = edges, keep

    def connect(self, x: Tensor) -> Tensor:
        """Raise: classes are needed."""
        raise InputError("LabelGraph has no labels: call it with (tokens, labels), or on a graph with y of each node")

    def connect_labelled(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the edges of the inner builder that join the same, or different, classes."""
        require(
            not labels.is_floating_point() and not labels.is_complex(),
            f"labels of type {labels.dtype}: classes are whole numbers; give them as int64",
        )
        edge_index = self.edges.connect_labelled(x, labels)
        source, target = labels.flatten()[edge_index]
        kept = source == target if self.keep == "same" else source != target
        return edge_index[:, kept]
