"""Spatial grid over the tokens of an image."""

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.graphs.given import GivenGraph
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian


class GridGraph(GivenGraph):
    """Each token is joined to the tokens beside it in the image, whatever their content.

    It needs all tokens of the grid, row by row: sampled tokens have lost their neighbours.

    Args:
        height: rows of the token grid.
        width: columns of the token grid.
        weight: weight of an edge.
        normalize: unit-length tokens before weights.
        diagonal: join the 8 tokens around, not only the 4 that share a side.

    Raises:
        InputError: the number of tokens is not height x width.
    """

    def __init__(
        self,
        height: int,
        width: int,
        weight: EdgeRelation | None = Gaussian(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
        diagonal: bool = False,
    ) -> None:
        require(height >= 1 and width >= 1, f"grid of {height}x{width} tokens: both sides must be at least 1")
        super().__init__(_edges(height, width, diagonal), height * width, weight, normalize=normalize)
        self.height, self.width, self.diagonal = height, width, diagonal

    def connect(self, x: Tensor) -> Tensor:
        """Return the grid edges of B graphs of height x width nodes each, sorted by target, then source."""
        nodes = x.shape[1]
        require(
            nodes == self.height * self.width,
            f"{nodes} tokens an image on a {self.height}x{self.width} grid: "
            f"the grid graph needs all {self.height * self.width} tokens, row by row",
        )
        return super().connect(x)


def _edges(height: int, width: int, diagonal: bool) -> Tensor:
    row = torch.arange(height).repeat_interleave(width)
    column = torch.arange(width).repeat(height)
    rows_apart = (row[:, None] - row).abs()
    columns_apart = (column[:, None] - column).abs()
    apart = torch.maximum(rows_apart, columns_apart) if diagonal else rows_apart + columns_apart
    target, source = (apart == 1).nonzero(as_tuple=True)
    return torch.stack([source, target])
