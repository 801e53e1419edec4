"""What a graph carries itself: the weights of its edges, the features of its nodes."""

from typing import Any, ClassVar

from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.relations.base import Place, Relation, check_graph, features_of, weights_of


class GivenWeight(Relation):
    """The ``edge_weight`` of the graph, as its builder made it; not negative, where a distribution is made of it.

    Raises:
        InputError: the graph has no weights, or not one for each edge.
    """

    nonnegative = True

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the weight of each edge, ``[E]``."""
        check_graph(graph)
        weight = weights_of(graph)
        if weight is None:
            raise InputError("the graph has no edge_weight: build it with a weight, such as Gaussian()")
        return weight


class NodeFeatures(Relation):
    """The features of each node, for divergences that let a node find its own among all others."""

    on: ClassVar[Place] = "nodes"

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return ``x``, ``[M, D]``."""
        check_graph(graph, edges=False)
        return features_of(graph)
