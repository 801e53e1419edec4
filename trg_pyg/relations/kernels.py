"""Kernels and distances: what the two ends of an edge say of it."""

from math import exp, factorial
from typing import Literal

import torch
from torch import Tensor

from trg_pyg.errors import check_positive, require
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.edges import absolute_distances, dot_products, squared_distances
from trg_pyg.tokens.normalize import l2_normalize

# Below it a distance passes no gradient: that of the square root grows without bound towards 0.
_SMALLEST_SQUARE = 1e-12


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
        if self.sigma != "auto":
            return (-squared / (2 * self.sigma)).exp()
        mean = squared.detach().mean()
        # A graph of nothing but duplicates has weight 1 instead of 0 / 0, and so have squares that underflow.
        return (-squared / (2 * torch.where(mean < 2**20 * torch.finfo(mean.dtype).tiny, 1.0, mean))).exp()


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


class TaylorGaussian(EdgeRelation):
    r"""Gaussian kernel of L2-normalised nodes by its Taylor series (Correlation Congruence, arXiv 1904.01802).

    .. math:: \exp(-\gamma \lVert x - y \rVert^2) \approx
        \sum_{p=0}^{P} e^{-2\gamma} \frac{(2\gamma)^p}{p!} (x^\top y)^p

    Args:
        gamma: width of the kernel.
        order: P, the last power.

    Raises:
        InputError: gamma is not positive, or the order is negative.
    """

    def __init__(self, gamma: float = 0.4, order: int = 2) -> None:
        super().__init__()
        check_positive("gamma", gamma)
        require(order >= 0, f"order={order}: the last power of the series is 0 or more")
        self.coefficients = [exp(-2 * gamma) * (2 * gamma) ** p / factorial(p) for p in range(order + 1)]
        self.cosine = Cosine()

    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return the kernel of each edge, ``[E]``."""
        cosine = self.cosine.between(x, edge_index, num_graphs)
        value = cosine * 0
        for coefficient in reversed(self.coefficients):
            value = value * cosine + coefficient
        return value
