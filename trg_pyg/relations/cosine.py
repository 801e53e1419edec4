"""Cosine between the ends of an edge."""

from torch import Tensor

from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.edges import dot_products
from trg_pyg.tokens.normalize import l2_normalize


class Cosine(EdgeRelation):
    """Cosine of the angle between the two ends; 0 where an end is a zero vector.

    Args:
        shifted: (cosine + 1) / 2 in [0, 1] instead of the cosine in [-1, 1], as in PKT (arXiv 1803.10837).
    """

    def __init__(self, shifted: bool = False) -> None:
        super().__init__()
        self.shifted = self.nonnegative = shifted

    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return the cosine of each edge, ``[E]``."""
        cosine = dot_products(l2_normalize(x), edge_index, num_graphs)
        # Rounding takes the cosine of opposite vectors below -1.
        return ((cosine + 1) / 2).clamp_min(0) if self.shifted else cosine
