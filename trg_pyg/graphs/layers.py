"""What joins the same image in several layers of a network."""

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian


class LayerGraph(GraphBuilder):
    """Joins each node of a layer to the same node of the next: nodes come layer after layer.

    Args:
        layers: number of layers, at least 2.
        weight: weight of an edge.
        normalize: unit-length features before weights.

    Raises:
        InputError: there are fewer than 2 layers; or, on building, the nodes are not a multiple of them.
    """

    def __init__(
        self,
        layers: int = 2,
        weight: EdgeRelation | None = Gaussian(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
    ) -> None:
        super().__init__(weight, normalize=normalize)
        require(layers >= 2, f"layers={layers}: a graph between layers needs at least 2")
        self.layers = layers

    def connect(self, x: Tensor) -> Tensor:
        """Return the edges from each layer to the next, sorted by target."""
        graphs, nodes, _ = x.shape
        require(nodes % self.layers == 0, f"{nodes} nodes in {self.layers} layers: give every layer the same nodes")
        step = nodes // self.layers
        target = torch.arange(graphs * nodes, device=x.device).view(graphs, nodes)[:, step:].flatten()
        return torch.stack([target - step, target])

    def num_edges(self, nodes: int) -> int:
        """Return one edge for each node of all layers but the first."""
        return nodes - nodes // self.layers
