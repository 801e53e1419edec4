"""k-nearest-neighbour token graph."""

from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.utils import coalesce

from trg_pyg._transfer import can_look
from trg_pyg.errors import require
from trg_pyg.graphs.base import GraphBuilder, Scope
from trg_pyg.graphs.neighbours import nearest_neighbours
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian
from trg_pyg.step import Share
from trg_pyg.tokens.normalize import tell_of_zeros


class KNNGraph(GraphBuilder):
    r"""Each token receives edges from its K nearest tokens by Euclidean distance (TRG, arXiv 2306.12442).

    :math:`A_{ij} = w(t_i, t_j)` if :math:`i \in \mathrm{kNN}(j)`, else 0: a directed graph without self loops in
    which every node has exactly K incoming edges, nearest first, duplicates and zero vectors included. Zero
    vectors have neighbours by index alone: that there are some is warned of once, on the CPU, where looking costs no
    wait.

    Args:
        k: neighbours of a token, 1 <= k < number of tokens of a graph, or less than that where ``at_most`` is set.
        weight: weight of an edge, the paper's Gaussian kernel by default.
        normalize: unit-length tokens before distances and weights.
        scope: neighbours within the image, or among all tokens of the batch (the paper's graph).
        symmetric: add every edge's reverse (ours; the paper's graph is directed). Nodes then have K or more edges; how
            many there are depends on the tokens, so that building the graph waits for a GPU and does not compile.
        at_most: in a graph of K tokens or fewer, join each to all others instead of refusing it.
        chunk_bytes: largest block of distances held at a time, in bytes.

    Raises:
        InputError: k is not between 1 and the number of a graph's tokens less one; or, with ``at_most``, a graph has
            a single token.
    """

    regular: ClassVar[bool] = True

    def __init__(
        self,
        k: int = 8,
        weight: EdgeRelation | None = Gaussian(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
        scope: Scope = "image",
        symmetric: bool = False,
        at_most: bool = False,
        chunk_bytes: int = 64 << 20,
    ) -> None:
        super().__init__(weight, normalize=normalize, scope=scope)
        require(k >= 1, f"K={k}: a token needs at least 1 neighbour")
        self.k, self.symmetric, self.at_most, self.chunk_bytes = k, symmetric, at_most, chunk_bytes

    def neighbours(self, nodes: int) -> int:
        """Return the neighbours of a node in a graph of that many: k, or with ``at_most`` all others if fewer."""
        return min(self.k, max(nodes - 1, 1)) if self.at_most else self.k

    def fitted(self, nodes: int) -> list[str]:
        """Say how many neighbours a node has, if they are fewer than k."""
        k = self.neighbours(nodes)
        return [f"k {k} in a graph of {nodes} nodes ({self.k} asked for)"] if k < self.k else []

    def connect(self, x: Tensor) -> Tensor:
        """Return the kNN edges of B graphs of N nodes each, sorted by target, nearest source first."""
        graphs, nodes, _ = x.shape
        first = torch.arange(0, graphs * nodes, nodes, device=x.device)
        edge_index = _edges(self._search(x) + first.view(-1, 1, 1), torch.arange(graphs * nodes, device=x.device))
        if self.symmetric:
            edge_index = coalesce(torch.cat([edge_index, edge_index.flip(0)], dim=1), sort_by_row=False)
        return edge_index

    def connect_share(self, x: Tensor, share: Share, every: bool) -> Tensor:
        """Return the kNN edges of one graph into a process's own nodes, or all: each process searches for its own."""
        if self.symmetric:
            return super().connect_share(x, share, every)
        own, target = share.rows(x.shape[1]), torch.arange(x.shape[1], device=x.device)
        source = self._search(x, own)[0]
        return _edges(share.gather(source), target) if every else _edges(source, target[own])

    def _search(self, x: Tensor, rows: slice | None = None) -> Tensor:
        if can_look(x):
            tell_of_zeros(x)
        return nearest_neighbours(x, self.neighbours(x.shape[1]), rows=rows, chunk_bytes=self.chunk_bytes)

    def num_edges(self, nodes: int) -> int | None:
        """Return N K; ``None`` for undirected graphs, whose edges and reverses may coincide."""
        return None if self.symmetric else nodes * self.neighbours(nodes)


def _edges(source: Tensor, target: Tensor) -> Tensor:
    """Return the edges from the neighbours ``[..., K]`` of each target."""
    return torch.stack([source.flatten(), target.repeat_interleave(source.shape[-1])])
