"""Which way one node lies from another."""

from typing import Any, ClassVar

from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.relations.base import Place, Relation, check_graph, features_of
from trg_pyg.tokens.normalize import l2_normalize


class Direction(Relation):
    r"""Unit vector from the target of an edge to its source (VRM, arXiv 2502.20760).

    .. math:: e_{ij} = (x_i - x_j) / \lVert x_i - x_j \rVert

    It keeps what a distance or a cosine sums up: by which features two nodes differ. Between equal nodes it is 0,
    without gradient.
    """

    on: ClassVar[Place] = "vectors"

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the vector of each edge, ``[E, D]``."""
        check_graph(graph)
        x = features_of(graph)
        source, target = graph.edge_index
        return l2_normalize(x[source] - x[target])
