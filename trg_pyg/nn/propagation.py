"""Parameter-free message passing on a weighted graph."""

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from trg_pyg.errors import require


class Propagation(MessagePassing):
    r"""Averages every node with its neighbours, h times, edge weights as coefficients (ours).

    .. math:: x_i \leftarrow \frac{x_i + \sum_{j \to i} A_{ji} x_j}{1 + \sum_{j \to i} A_{ji}}

    The node itself counts with weight 1, which is a Gaussian kernel's value at distance 0. A node without incoming
    edges keeps its features. Nothing is learned.

    Args:
        hops: number of rounds h; 0 returns the features as they are.

    Shapes:
        - node features ``(|V|, F)``, ``edge_index`` ``(2, |E|)``, ``edge_weight`` ``(|E|)``, non-negative
        - output ``(|V|, F)``

    Raises:
        InputError: hops is negative.
    """

    def __init__(self, hops: int = 1) -> None:
        super().__init__(aggr="add")
        require(hops >= 0, f"hops={hops}: choose 0 or more rounds of message passing")
        self.hops = hops

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the propagated features."""
        if edge_weight is None:
            edge_weight = x.new_ones(edge_index.shape[1])
        edge_weight = edge_weight.to(x.dtype)
        total = torch.ones_like(x[:, :1]).index_add(0, edge_index[1], edge_weight.unsqueeze(-1))
        for _ in range(self.hops):
            x = (x + self.propagate(edge_index, x=x, edge_weight=edge_weight)) / total
        return x

    def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
        """Scale what an edge carries by its weight."""
        return edge_weight.view(-1, 1) * x_j

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hops={self.hops})"
