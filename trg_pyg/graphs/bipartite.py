"""What joins all of one half to all of the other."""

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian


class BipartiteGraph(GraphBuilder):
    """Joins each node of the first half of a graph to each node of the second: two views of the same things.

    Args:
        weight: weight of an edge.
        normalize: unit-length features before weights.

    Raises:
        InputError: on building, the nodes are not two halves.
    """

    def __init__(
        self,
        weight: EdgeRelation | None = Gaussian(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
    ) -> None:
        super().__init__(weight, normalize=normalize)

    def connect(self, x: Tensor) -> Tensor:
        """Return the edges from the first half to the second, sorted by target, then source."""
        graphs, nodes, _ = x.shape
        require(nodes % 2 == 0, f"{nodes} nodes in two halves: give both the same number")
        first = torch.arange(graphs * nodes, device=x.device).view(graphs, 2, nodes // 2)
        source, target = torch.broadcast_tensors(first[:, 0].unsqueeze(1), first[:, 1].unsqueeze(2))
        return torch.stack([source.flatten(), target.flatten()])

    def num_edges(self, nodes: int) -> int:
        """Return the square of half of the nodes."""
        return (nodes // 2) ** 2
