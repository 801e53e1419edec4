"""Euclidean distance between the ends of an edge."""

from torch import Tensor

from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.edges import squared_distances

# Below it a distance passes no gradient: that of the square root grows without bound towards 0.
_SMALLEST_SQUARE = 1e-12


class Distance(EdgeRelation):
    """Euclidean distance of the two ends, at least 1e-6 between two nodes and 0 from a node to itself.

    Args:
        squared: the square of it, without a least value.
    """

    nonnegative = True

    def __init__(self, squared: bool = False) -> None:
        super().__init__()
        self.squared = squared

    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return the length of each edge, ``[E]``."""
        square = squared_distances(x, edge_index, num_graphs)
        if self.squared:
            return square
        return square.clamp_min(_SMALLEST_SQUARE).sqrt() * (edge_index[0] != edge_index[1])
