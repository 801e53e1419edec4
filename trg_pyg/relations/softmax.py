"""Softmax of a relation over the neighbourhood of each node."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.relations.base import Relation, degree_of


class SparseRows(NamedTuple):
    """Softmax along the rows of an M x M matrix of which only some entries are not 0.

    Attributes:
        row: row of each entry, ``[E]``.
        column: column of each entry, ``[E]``.
        logit: value of each entry, ``[E]``.
        log_z: log(Z / M) of each row, ``[M]``: the logarithm of the mean of e^a over all M entries a of the row.
    """

    row: Tensor
    column: Tensor
    logit: Tensor
    log_z: Tensor


class Softmax(Relation):
    r"""Turns values on edges into one distribution for each node.

    Args:
        of: the relation on edges.
        temperature: divides its values.
        support: ``"neighbors"``: over the edges into a node. ``"all"``: over row i of the M x M matrix that holds the
            value of edge i -> j at (i, j) and 0 where there is no edge, zeros included (TRG, arXiv 2306.12442); the
            matrix is never made, and an edge must not occur twice.

    Raises:
        InputError: the relation is not on edges or is a distribution already, or an option is impossible.
    """

    nonnegative = True
    distribution = True

    def __init__(
        self, of: Relation, temperature: float = 1.0, support: Literal["neighbors", "all"] = "neighbors"
    ) -> None:
        super().__init__()
        check_choice("support", support, ("all", "neighbors"))
        check_positive("temperature", temperature)
        name = type(of).__name__
        require(of.on == "edges", f"Softmax of {name}: it has values on {of.on}, a softmax needs them on edges")
        require(not of.distribution, f"Softmax of {name}: its values are probabilities already")
        self.of, self.temperature, self.support = of, temperature, support

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the probability of each edge, ``[E]``."""
        return self.log_probability(graph).exp()

    def log_probability(self, graph: Data) -> Tensor:
        """Return the logarithm of the probability of each edge, ``[E]``."""
        if self.support == "all":
            rows = self.rows(graph)
            return rows.logit - rows.log_z[rows.row] - _log(graph.num_nodes, rows.logit)
        logits = self._logits(graph)
        if (degree := degree_of(graph)) is not None:
            # A processor takes many short rows fastest side by side.
            return logits.view(-1, degree).T.log_softmax(0).T.flatten()
        return segment_log_softmax(logits, graph.edge_index[1], graph.num_nodes)

    def rows(self, graph: Data) -> SparseRows:
        """Return what the softmax over all nodes needs: the entries that are not 0, and each row's partition sum."""
        logit = self._logits(graph)  # which refuses what is no graph
        row, column = graph.edge_index
        return SparseRows(row, column, logit, _log_partition(logit, row, graph.num_nodes))

    def _logits(self, graph: Data) -> Tensor:
        return self.of(graph) / self.temperature


def segment_log_softmax(logits: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Log-softmax within groups; PyG's ``softmax`` adds 1e-16 to the sum, which a logarithm would show.

    Args:
        logits: ``[E]``.
        group: group of each entry, ``[E]``, int64.
        num_groups: number of groups; a group may be empty.

    Returns:
        ``[E]``.
    """
    # The maximum is a constant as far as the gradient goes: it cancels.
    top = scatter(logits.detach(), group, dim_size=num_groups, reduce="max")
    shifted = logits - top[group]
    total = scatter(shifted.exp(), group, dim_size=num_groups, reduce="sum")
    return shifted - total[group].log()


def _log(number: int, like: Tensor) -> Tensor:
    return like.new_full((), float(number)).log()


def _log_partition(weight: Tensor, row: Tensor, nodes: int) -> Tensor:
    """Return log(Z / M) of each row, ``[M]``."""
    degree = scatter(torch.ones_like(weight), row, dim_size=nodes, reduce="sum")
    zeros = nodes - degree
    top = scatter(weight.detach(), row, dim_size=nodes, reduce="max")
    top = torch.where(zeros > 0, top.clamp_min(0), top)
    excess = scatter(torch.expm1(weight - top[row]), row, dim_size=nodes, reduce="sum")
    # Small weights leave the mean close to 1, and the KL is a difference of such: log1p keeps its digits. Large ones
    # leave it close to 0, where 1 + x would lose them.
    lowered = -top.clamp_min(0)  # a row without zeros may be below 0 all along: 0 times what overflows is no number
    near_one = torch.log1p((zeros * torch.expm1(lowered) + excess) / nodes)
    near_zero = ((zeros * lowered.exp() + excess + degree) / nodes).log()
    return top + torch.where(top < 1, near_one, near_zero)
