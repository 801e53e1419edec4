"""What a node is by itself."""

from typing import Any, ClassVar

from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.relations.base import Place, Relation, check_graph, features_of


class NodeFeatures(Relation):
    """The features of each node, for divergences that let a node find its own among all others."""

    on: ClassVar[Place] = "nodes"

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return ``x``, ``[M, D]``."""
        check_graph(graph, edges=False)
        return features_of(graph)
