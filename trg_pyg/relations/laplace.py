"""Laplace kernel between the ends of an edge."""

from torch import Tensor

from trg_pyg.errors import check_positive
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.edges import absolute_distances


class Laplace(EdgeRelation):
    r"""Kernel :math:`\exp(-\lVert t_i - t_j \rVert_1 / s)` of the city-block distance.

    What the public code of Local Structure Preserving distillation (arXiv 2003.10477) takes, with s = 100.

    Args:
        scale: s, in units of the distance.

    Raises:
        InputError: the scale is not positive.
    """

    nonnegative = True

    def __init__(self, scale: float = 100.0) -> None:
        super().__init__()
        check_positive("scale", scale)
        self.scale = scale

    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return values in (0, 1], ``[E]``."""
        return (-absolute_distances(x, edge_index) / self.scale).exp()
