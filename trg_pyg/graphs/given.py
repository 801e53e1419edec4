"""A graph that is known beforehand."""

import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.errors import require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian


class GivenGraph(GraphBuilder):
    """Every graph has the same given edges, whatever its tokens: a skeleton, a mesh, a spatial grid.

    Args:
        edge_index: ``[2, E]``, int64, between nodes 0 to ``num_nodes`` - 1, in any order.
        num_nodes: nodes of a graph.
        weight: weight of an edge.
        normalize: unit-length tokens before weights.

    Raises:
        InputError: the edges are no ``[2, E]`` integers or name a node that there is not; or, on building, a graph
            has another number of nodes.
    """

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        weight: EdgeRelation | None = Gaussian(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
    ) -> None:
        super().__init__(weight, normalize=normalize)
        require(
            edge_index.dim() == 2 and edge_index.shape[0] == 2 and edge_index.dtype == torch.int64,
            f"edge_index of shape {tuple(edge_index.shape)} and type {edge_index.dtype}: give int64 [2, edges]",
        )
        outside = edge_index[(edge_index < 0) | (edge_index >= num_nodes)]
        require(
            outside.numel() == 0,
            f"edge_index names node {outside[:1].tolist()} of a graph of {num_nodes} nodes, numbered from 0",
        )
        order = (edge_index[1] * num_nodes + edge_index[0]).argsort(stable=True)
        self.edge_index, self.num_nodes = edge_index[:, order], num_nodes

    def connect(self, x: Tensor) -> Tensor:
        """Return the given edges of B graphs, sorted by target, then source."""
        graphs, nodes, _ = x.shape
        require(nodes == self.num_nodes, f"{nodes} tokens an image on a given graph of {self.num_nodes} nodes")
        first = torch.arange(0, graphs * nodes, nodes, device=x.device)
        return (to_device(self.edge_index, x.device).unsqueeze(1) + first.view(1, -1, 1)).flatten(1)

    def num_edges(self, nodes: int) -> int:
        """Return the number of the given edges."""
        return self.edge_index.shape[1]
