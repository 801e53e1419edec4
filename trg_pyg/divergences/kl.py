"""Kullback-Leibler divergence between the neighbourhoods of each node."""

from typing import Literal

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from trg_pyg.divergences.base import Divergence, Related, reduce
from trg_pyg.errors import check_choice, require
from trg_pyg.relations.base import Relation, degree_of
from trg_pyg.relations.softmax import Softmax, SparseRows
from trg_pyg.step import Step

# Up to here five terms of a series have the digits of float32, and what it is the series of loses them.
_NEAR = 0.1


class KL(Divergence):
    r"""KL divergence of two distributions for each node.

    .. math:: \mathrm{KL}(p_i \Vert q_i) = \sum_j p_{ij} \log \frac{p_{ij} + \epsilon}{q_{ij} + \epsilon}

    Over the neighbours of a node the sum runs over its edges. Over all nodes (``Softmax(support="all")``) the graphs
    may have different edges, and a term of

    .. math:: \sum_{j} p_{ij} (A^P_{ij} - A^Q_{ij}) + \log Z^Q_i - \log Z^P_i

    is zero where neither graph has the edge, so the edges are enough here too.

    Args:
        direction: ``"teacher"``: KL(T || S). ``"student"``: KL(S || T).
        reduction: ``"mean"`` over nodes, ``"sum"`` over them, or ``"entries"``: mean over all edges.
        eps: added to the probabilities in the logarithm; needed where they can be 0, as a softmax cannot.

    Raises:
        InputError: an option is impossible, or the relation is no distribution.
    """

    def __init__(
        self,
        direction: Literal["teacher", "student"] = "teacher",
        reduction: Literal["mean", "sum", "entries"] = "mean",
        eps: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("direction", direction, ("teacher", "student"))
        check_choice("reduction", reduction, ("mean", "sum", "entries"))
        require(eps >= 0, f"eps={eps}: what is added to a probability is 0 or positive")
        self.direction, self.reduction, self.eps = direction, reduction, eps

    def check(self, student: Relation, teacher: Relation) -> None:
        """Refuse relations that are no distribution, or whose probabilities may be 0 without ``eps``."""
        super().check(student, teacher)
        for relation in (student, teacher):
            self._check(relation)
        require(
            _is_over_all(student) == _is_over_all(teacher),
            "KL of a pair of softmaxes, one over neighbours and one over all nodes: give both the same support",
        )

    def needs_same_edges(self, relation: Relation) -> bool:
        """Return whether the distributions are over neighbours."""
        return not _is_over_all(relation)

    def _check(self, relation: Relation) -> None:
        name = type(relation).__name__
        require(
            relation.distribution,
            f"KL of {name}: its values are no distribution; wrap it in Softmax(...) or in Scaled(..., by='sum')",
        )
        softmax = isinstance(relation, Softmax)
        require(softmax or self.eps > 0, f"KL of {name}: its probabilities can be 0; give eps, such as 1e-7")
        require(
            not (_is_over_all(relation) and (self.eps > 0 or self.reduction == "entries")),
            "KL over all nodes sums edges and zeros in closed form: eps=0 and reduction mean or sum are possible",
        )

    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return the divergence, 0 where the relations are equal."""
        first, second = (teacher, student) if self.direction == "teacher" else (student, teacher)
        p, q = first.relation, second.relation
        nodes, share = first.graph.num_nodes, None if step is None else step.share
        if isinstance(p, Softmax) and isinstance(q, Softmax) and p.support == "all":
            same_edges = first.graph.edge_index is second.graph.edge_index
            per_node = _over_all(p.rows(first.graph), q.rows(second.graph), nodes, same_edges)
            return reduce(per_node, "sum" if self.reduction == "sum" else "mean", share)
        if isinstance(p, Softmax) and isinstance(q, Softmax) and self.eps == 0:
            log_p, log_q = p.log_probability(first.graph), q.log_probability(second.graph)
            difference = log_p - log_q
            with torch.no_grad():
                value = _terms(log_p, log_q, difference)
            per_edge = _with_value(log_p.exp() * difference, value)
        else:
            per_edge = _with_eps(first.values(), second.values(), first.graph.edge_index[1], nodes, self.eps)
        if self.reduction == "entries":
            return per_edge.sum() / max(per_edge.numel(), 1)
        if (degree := degree_of(first.graph)) is not None:
            # Nodes without edges are those of other processes.
            mean = per_edge.sum() * (degree / per_edge.numel())
            return mean if self.reduction == "mean" else mean * nodes
        per_node = scatter(per_edge, first.graph.edge_index[1], dim_size=nodes, reduce="sum")
        return reduce(per_node, self.reduction, share)


def _terms(log_p: Tensor, log_q: Tensor, difference: Tensor) -> Tensor:
    """Return p log(p / q) - p + q: since p and q both sum to 1, the sum is that of p log(p / q).

    Where they are nearly equal each term is as small as it should be, while those of p log(p / q) are large beside
    their sum, of which rounding leaves nothing.
    """
    near = difference.abs() < _NEAR
    small = torch.where(near, difference, 0.0)
    series = small.square() * (1 / 2 - small * (1 / 6 - small * (1 / 24 - small * (1 / 120 - small / 720))))
    p = log_p.exp()
    return torch.where(near, p * series, p * difference - p + log_q.exp())


def _with_value(gradient: Tensor, value: Tensor) -> Tensor:
    """Return the value of one formula with the gradient of another, which has no digits to lose."""
    return gradient + (value - gradient).detach()


def _with_eps(p: Tensor, q: Tensor, node: Tensor, nodes: int, eps: float) -> Tensor:
    r"""Terms of each edge that sum to the divergence of each node.

    Where p and q are nearly equal, the terms p log(p / q) are large beside their sum: what is linear in p - q cancels.
    Since both sum to 1, it is left out beforehand: with :math:`d = (p - q) / (q + \epsilon)`,

    .. math:: \sum p \log(1 + d) = \sum (q + \epsilon) \big((1 + d) \log(1 + d) - d\big)
        - \epsilon \log(1 + d) + \sum (p - q)

    Args:
        p: probability of each edge, ``[E]``.
        q: the same.
        node: whose neighbours' probability it is, ``[E]``.
        nodes: number of nodes.
        eps: positive.
    """
    d, ratio = (p - q) / (q + eps), (p + eps) / (q + eps)
    near = d.abs() < _NEAR
    small, large = torch.where(near, d, 0.0), torch.where(near, 1.0, ratio)
    series = small.square() * (1 / 2 - small * (1 / 6 - small * (1 / 12 - small * (1 / 20 - small / 30))))
    convex = torch.where(near, series, large * large.log() - d)
    per_edge = (q + eps) * convex - eps * torch.where(near, small.log1p(), large.log())
    # A row of nothing but zeros sums to 0.
    empty_p, empty_q = (scatter(x.detach(), node, dim_size=nodes, reduce="max") == 0 for x in (p, q))
    return per_edge + torch.where((empty_p != empty_q)[node], p - q, 0.0)


def _is_over_all(relation: Relation) -> bool:
    return isinstance(relation, Softmax) and relation.support == "all"


def _over_all(p: SparseRows, q: SparseRows, nodes: int, same_edges: bool) -> Tensor:
    """KL of each row, ``[M]``, of softmaxes over all nodes."""
    # At the other graph's edges a value is 0 unless the graph has that edge too.
    p_at_q, known = (p.logit, torch.ones_like(p.row, dtype=torch.bool)) if same_edges else _look_up(p, q, nodes)
    # log_z is relative to log M, hence the probabilities to 1 / M.
    own = scatter((p.logit - p.log_z[p.row]).exp() * p.logit, p.row, dim_size=nodes, reduce="sum")
    other = scatter((p_at_q - p.log_z[q.row]).exp() * q.logit, q.row, dim_size=nodes, reduce="sum")
    closed = (own - other) / nodes + q.log_z - p.log_z
    with torch.no_grad():
        q_at_p = q.logit if same_edges else _look_up(q, p, nodes)[0]
        # The edges of p, those that only q has, and the zeros that are left of a row.
        shift = p.log_z - q.log_z
        of_p = _terms(p.logit - p.log_z[p.row], q_at_p - q.log_z[p.row], p.logit - q_at_p - shift[p.row])
        of_q = _terms(-p.log_z[q.row], q.logit - q.log_z[q.row], -q.logit - shift[q.row])
        zeros = nodes - scatter(torch.ones_like(p.logit), p.row, dim_size=nodes, reduce="sum")
        zeros -= scatter((~known).to(zeros.dtype), q.row, dim_size=nodes, reduce="sum")
        rest = torch.where(zeros > 0, zeros * _terms(-p.log_z, -q.log_z, -shift), 0.0)
        terms, row = torch.cat([of_p, torch.where(known, 0.0, of_q)]), torch.cat([p.row, q.row])
        value = (scatter(terms, row, dim_size=nodes, reduce="sum") + rest) / nodes
    return _with_value(closed, value)


def _look_up(have: SparseRows, wanted: SparseRows, nodes: int) -> tuple[Tensor, Tensor]:
    """Return the values of one matrix at the entries of another, 0 where it has none, and whether it has one."""
    if have.row.numel() == 0:
        none = have.logit.new_zeros(wanted.row.numel())
        return none, none.bool()
    key, order = (have.row * nodes + have.column).sort()
    wanted_key = wanted.row * nodes + wanted.column
    place = torch.searchsorted(key, wanted_key).clamp_max(key.numel() - 1)
    known = key[place] == wanted_key
    return torch.where(known, have.logit[order[place]], 0.0), known
