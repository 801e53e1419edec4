"""Edge weights: differentiable functions of the two ends of an edge."""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.graphs.edges import dot_products, squared_distances
from trg_pyg.tokens.normalize import l2_normalize


class EdgeWeight(ABC):
    """A weight for each edge, from the features of its ends; gradient flows to the features."""

    @abstractmethod
    def __call__(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return weights ``[E]`` for node features ``[M, D]`` and edges ``[2, E]``."""


class GaussianWeight(EdgeWeight):
    r"""Gaussian kernel :math:`A_{ij} = \exp(-\lVert t_i - t_j \rVert^2 / (2 \sigma))` (TRG, arXiv 2306.12442).

    Args:
        sigma: the kernel's scale, sigma and not sigma squared, as the paper prints it; ``"auto"`` takes the mean
            squared length of the edges at hand, without gradient.

    Raises:
        InputError: sigma is not positive.
    """

    def __init__(self, sigma: float | Literal["auto"] = 1.0) -> None:
        require(
            sigma == "auto" or (not isinstance(sigma, str) and sigma > 0),
            f"sigma={sigma}: the Gaussian kernel needs a positive scale, or auto",
        )
        self.sigma = sigma

    def __call__(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return weights in (0, 1], ``[E]``."""
        squared = squared_distances(x, edge_index)
        # The floor keeps a graph of nothing but duplicates at weight 1 instead of 0 / 0.
        sigma = squared.detach().mean().clamp_min(1e-12) if self.sigma == "auto" else self.sigma
        return (-squared / (2 * sigma)).exp()


class CosineWeight(EdgeWeight):
    """Cosine of the angle between the two ends, in [-1, 1]; 0 where an end is a zero vector."""

    def __call__(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return weights in [-1, 1], ``[E]``."""
        return dot_products(l2_normalize(x), edge_index)
