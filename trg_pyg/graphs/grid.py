"""Spatial grid over the tokens of an image."""

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.graphs.weights import EdgeWeight, GaussianWeight


class GridGraph(GraphBuilder):
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
        weight: EdgeWeight | None = GaussianWeight(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
        diagonal: bool = False,
    ) -> None:
        super().__init__(weight, normalize=normalize)
        require(height >= 1 and width >= 1, f"grid of {height}x{width} tokens: both sides must be at least 1")
        self.height, self.width, self.diagonal = height, width, diagonal

    def connect(self, x: Tensor) -> Tensor:
        """Return the grid edges of B graphs of height x width nodes each, sorted by target, then source."""
        graphs, nodes, _ = x.shape
        require(
            nodes == self.height * self.width,
            f"{nodes} tokens an image on a {self.height}x{self.width} grid: "
            f"the grid graph needs all {self.height * self.width} tokens, row by row",
        )
        edge_index = self._one_grid().to(x.device)
        first = torch.arange(0, graphs * nodes, nodes, device=x.device)
        return (edge_index.unsqueeze(1) + first.view(1, -1, 1)).flatten(1)

    def _one_grid(self) -> Tensor:
        row = torch.arange(self.height).repeat_interleave(self.width)
        column = torch.arange(self.width).repeat(self.height)
        rows_apart = (row[:, None] - row).abs()
        columns_apart = (column[:, None] - column).abs()
        apart = torch.maximum(rows_apart, columns_apart) if self.diagonal else rows_apart + columns_apart
        target, source = (apart == 1).nonzero(as_tuple=True)
        return torch.stack([source, target])
