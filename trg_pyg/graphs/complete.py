"""Complete token graph."""

from typing import ClassVar

import torch
from torch import Tensor

from trg_pyg.graphs.base import GraphBuilder, Scope
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian


class CompleteGraph(GraphBuilder):
    """Every token is joined to every other token of its graph, sorted by target, then source.

    It has N (N - 1) edges a graph: meant for the tokens of an image or the images of a batch, not for all tokens.

    Args:
        weight: weight of an edge.
        normalize: unit-length tokens before weights.
        scope: one graph an image, or one of all tokens of the batch.
        self_loops: join every token to itself as well.
    """

    regular: ClassVar[bool] = True

    def __init__(
        self,
        weight: EdgeRelation | None = Gaussian(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
        scope: Scope = "image",
        self_loops: bool = False,
    ) -> None:
        super().__init__(weight, normalize=normalize, scope=scope)
        self.self_loops = self_loops

    def connect(self, x: Tensor) -> Tensor:
        """Return all edges of B graphs of N nodes each."""
        graphs, nodes, _ = x.shape
        first = torch.arange(0, graphs * nodes, nodes, device=x.device)
        local = torch.arange(nodes, device=x.device)
        source = local.expand(nodes, -1)
        if not self.self_loops:
            source = source[:, :-1] + (source[:, :-1] >= local.view(-1, 1))
        target = local.view(-1, 1).expand_as(source)
        edge_index = torch.stack([source.flatten(), target.flatten()])
        return (edge_index.unsqueeze(1) + first.view(1, -1, 1)).flatten(1)

    def num_edges(self, nodes: int) -> int:
        """Return N (N - 1), or N^2 with loops."""
        return nodes * (nodes if self.self_loops else nodes - 1)
