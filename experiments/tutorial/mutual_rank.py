"""A relational method of one's own, the order of mutual neighbours; README.md tells how it came about."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_dense_batch

from trg_pyg.distillers import Relational, TermDistiller, check_networks
from trg_pyg.divergences import MSE
from trg_pyg.graphs import GraphBuilder, KNNGraph
from trg_pyg.models import NetworkInfo
from trg_pyg.nodes import Tokens
from trg_pyg.relations import Distance, EdgeRelation, Relation


class MutualKNN(GraphBuilder):
    """Joins two tokens where each is among the k nearest of the other."""

    def __init__(self, k: int) -> None:
        super().__init__(weight=None, scope="batch")
        self.nearest = KNNGraph(k, None)

    def connect(self, x: Tensor) -> Tensor:
        """Return the edges of kNN whose reverse is an edge too, sorted by target."""
        source, target = edge_index = self.nearest.connect(x)
        nodes = x.shape[0] * x.shape[1]
        return edge_index[:, torch.isin(source * nodes + target, target * nodes + source)]


class SoftRank(Relation):
    """How many of a node's neighbours are nearer than this one, as a share of them; a sigmoid instead of a step."""

    def __init__(self, of: EdgeRelation, temperature: float) -> None:
        super().__init__()
        self.of, self.temperature = of, temperature

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the rank of each edge among the edges into the same node, in [0, 1], ``[E]``."""
        value, exists = to_dense_batch(self.of(graph), graph.edge_index[1], batch_size=graph.num_nodes)
        nearer = ((value.unsqueeze(2) - value.unsqueeze(1)) / self.temperature).sigmoid() * exists.unsqueeze(1)
        return (nearer.sum(2) / exists.sum(1, keepdim=True).clamp_min(1))[exists]


class MutualRank(TermDistiller):
    """Each token's mutual neighbours shall come in the same order of distance as in the teacher.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the order.
        k: nearest tokens among which both ends of an edge are.
        temperature: distance that makes a clear difference.
        tokens_per_image: tokens sampled of each image in each step; null for all.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 10.0,
        k: int = 8,
        temperature: float = 1.0,
        tokens_per_image: int | None = 16,
        **options: Any,
    ) -> None:
        tokens = Tokens(student, check_networks(student, teacher), tokens_per_image=tokens_per_image)
        order = Relational(tokens, MutualKNN(k), SoftRank(Distance(), temperature), MSE())
        super().__init__(student, teacher, terms={"order": (weight, order)}, **options)
