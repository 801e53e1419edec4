"""Gaussian kernel between the ends of an edge."""

from typing import Literal

from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.edges import squared_distances


class Gaussian(EdgeRelation):
    r"""Gaussian kernel :math:`A_{ij} = \exp(-\lVert t_i - t_j \rVert^2 / (2 \sigma))` (TRG, arXiv 2306.12442).

    Args:
        sigma: the kernel's scale, sigma and not sigma squared, as the paper prints it; ``"auto"`` takes the mean
            squared length of the edges at hand, without gradient.

    Raises:
        InputError: sigma is not positive.
    """

    nonnegative = True

    def __init__(self, sigma: float | Literal["auto"] = 1.0) -> None:
        super().__init__()
        require(
            sigma == "auto" or (not isinstance(sigma, str) and sigma > 0),
            f"sigma={sigma}: the Gaussian kernel needs a positive scale, or auto",
        )
        self.sigma = sigma

    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return values in (0, 1], ``[E]``."""
        squared = squared_distances(x, edge_index, num_graphs)
        # The floor keeps a graph of nothing but duplicates at weight 1 instead of 0 / 0.
        sigma = squared.detach().mean().clamp_min(1e-12) if self.sigma == "auto" else self.sigma
        return (-squared / (2 * sigma)).exp()
