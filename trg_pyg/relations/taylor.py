"""Gaussian kernel of unit vectors as a polynomial of their cosine."""

from math import exp, factorial

from torch import Tensor

from trg_pyg.errors import check_positive, require
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.cosine import Cosine


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
