"""Dot product of the ends of an edge."""

from torch import Tensor

from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.edges import dot_products


class DotProduct(EdgeRelation):
    r"""Dot product of the two ends.

    Args:
        scaled: divide by :math:`\sqrt{D}`, as attention does.
    """

    def __init__(self, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled

    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return the product of each edge, ``[E]``."""
        product = dot_products(x, edge_index, num_graphs)
        return product / x.shape[-1] ** 0.5 if self.scaled else product
