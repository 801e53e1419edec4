"""Complete token graph."""

from typing import ClassVar

import torch
from torch import Tensor

from trg_pyg.graphs.base import GraphBuilder, Scope
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian
from trg_pyg.step import Share


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
        return (self._into(nodes, slice(0, nodes), x.device).unsqueeze(1) + first.view(1, -1, 1)).flatten(1)

    def connect_share(self, x: Tensor, share: Share, every: bool) -> Tensor:
        """Return all edges of one graph into a process's own nodes, or into all."""
        nodes = x.shape[1]
        return self.connect(x) if every else self._into(nodes, share.rows(nodes), x.device)

    def _into(self, nodes: int, rows: slice, device: torch.device) -> Tensor:
        target = torch.arange(rows.start, rows.stop, device=device).unsqueeze(1)
        source = torch.arange(nodes, device=device).expand(len(target), -1)
        if not self.self_loops:
            source = source[:, :-1] + (source[:, :-1] >= target)
        return torch.stack([source.flatten(), target.expand_as(source).flatten()])

    def num_edges(self, nodes: int) -> int:
        """Return N (N - 1), or N^2 with loops."""
        return nodes * (nodes if self.self_loops else nodes - 1)
