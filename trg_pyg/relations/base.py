"""The contract of a relation: what a graph says of how its nodes stand to one another."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from trg_pyg.tokens.normalize import full_precision

Place = Literal["edges", "triples", "nodes"]


class Relation(nn.Module, ABC):
    """A differentiable function of a graph, the same for student and teacher: what a divergence compares.

    Attributes:
        on: what a value belongs to: an edge, a triple of nodes (an anchor and two of its neighbours), or a node.
        nonnegative: whether no value is below 0.
        distribution: whether the values of the edges into a node, or along a row, are probabilities that sum to 1.
    """

    on: ClassVar[Place] = "edges"
    nonnegative: bool = False
    distribution: bool = False

    @abstractmethod
    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the values of a graph with ``x`` ``[M, D]`` and ``edge_index`` ``[2, E]``.

        Args:
            graph: the graph.
            block: one of :meth:`blocks`, for its share of the values.
        """

    def blocks(self, graph: Data) -> list[Any]:
        """Return the blocks in which the values fit in memory, ``[None]`` where they fit at once."""
        return [None]


class EdgeRelation(Relation):
    """A relation with one value for each edge, from the features of its two ends alone.

    Such a relation is also what a graph builder takes as its ``weight``.
    """

    @abstractmethod
    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return the value of each edge.

        Args:
            x: node features ``[M, D]``, float32 or float64.
            edge_index: ``[2, E]``.
            num_graphs: number of graphs of equal size that the nodes form, in their order; more than 1 promises that
                no edge joins two of them.

        Returns:
            ``[E]``.
        """

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the value of each edge, ``[E]``."""
        return self.between(full_precision(graph.x), graph.edge_index, equal_graphs(graph))


def equal_graphs(graph: Data) -> int:
    """Return how many graphs of equal size a batch holds; 1 where it is not known that they are equal."""
    if not isinstance(graph, Batch) or graph.num_graphs < 2:
        return 1
    # The bookkeeping lies on the CPU, so that asking does not wait for a GPU.
    starts = graph._slice_dict["x"]
    sizes = starts.diff()
    return graph.num_graphs if bool((sizes == sizes[0]).all()) else 1
