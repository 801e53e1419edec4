"""TRG's local structure loss, exact without an M x M matrix."""

from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from trg_pyg.errors import InputError, check_choice, check_positive, require
from trg_pyg.losses.base import DistillationLoss, Reduction, reduce
from trg_pyg.losses.segments import segment_log_softmax
from trg_pyg.tokens.normalize import full_precision


class LocalStructureLoss(DistillationLoss):
    r"""Divergence between the two networks' distributions over the neighbours of each node.

    The paper's L_local (arXiv 2306.12442) is, with :math:`p_i` the softmax of row i of the weighted adjacency matrix
    over **all** M nodes, zeros included,

    .. math:: L_{local} = \sum_i \mathrm{KL}(p_i \Vert q_i), \qquad
        \mathrm{KL}(p_i \Vert q_i) = \sum_{j} p_{ij} (A^P_{ij} - A^Q_{ij}) + \log Z^Q_i - \log Z^P_i .

    A term of that sum is zero where neither graph has the edge, and :math:`Z_i = M + \sum_j (e^{A_{ij}} - 1)` needs
    the edges only, so the loss is exact in O(edges) memory. (The edge i -> j of ``edge_index`` is the entry (i, j).)

    Args:
        support: ``"all"``: softmax over all nodes (paper). ``"neighbors"``: softmax over the edges into a node only,
            as in Local Structure Preserving distillation (arXiv 2003.10477); both graphs need the same edges.
        direction: ``"teacher"``: KL(T || S), as knowledge distillation code has it. ``"student"``: KL(S || T), as the
            paper prints it.
        temperature: divides the edge weights before the softmax (ours; the paper has 1). Gaussian weights lie in
            (0, 1], so at 1 the distribution over a node's neighbours is nearly flat.
        reduction: ``"mean"`` over nodes, or ``"sum"`` (paper).

    Shapes:
        - two graphs of M nodes with ``edge_index`` ``[2, E]`` and ``edge_weight`` ``[E]``; for ``"all"`` their edges
          may differ, but an edge must not occur twice in a graph

    Raises:
        InputError: an option is impossible, the graphs have different nodes, have no weights, or have different edges
            where the same are needed.
    """

    def __init__(
        self,
        support: Literal["all", "neighbors"] = "all",
        direction: Literal["teacher", "student"] = "teacher",
        temperature: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_choice("support", support, ("all", "neighbors"))
        check_choice("direction", direction, ("teacher", "student"))
        check_choice("reduction", reduction, ("mean", "sum"))
        check_positive("temperature", temperature)
        self.support, self.direction, self.temperature, self.reduction = support, direction, temperature, reduction

    def forward(self, student: Data, teacher: Data) -> Tensor:
        """Return the loss, 0 where the graphs are equal."""
        nodes = _same_nodes(student, teacher)
        s = _weights(student, "student") / self.temperature
        t = _weights(teacher, "teacher").detach() / self.temperature
        same_edges = student.edge_index is teacher.edge_index
        if self.support == "neighbors":
            require(
                same_edges or torch.equal(student.edge_index, teacher.edge_index),
                "support=neighbors compares softmaxes over the same neighbours, but student and teacher have different "
                "edges: score the student on the teacher's edges (edges=teacher, GraphBuilder.reweight), or use "
                "support=all",
            )
            p, q = (t, s) if self.direction == "teacher" else (s, t)
            per_node = _kl_over_neighbours(p, q, teacher.edge_index[1], nodes)
        else:
            # At the other graph's edges a weight is 0 unless the graph has that edge too.
            t_at_s = t if same_edges else _look_up(teacher.edge_index, t, student.edge_index, nodes)
            s_at_t = s if same_edges else _look_up(student.edge_index, s, teacher.edge_index, nodes)
            if self.direction == "teacher":
                per_node = _kl_over_all(t, teacher.edge_index[0], s, student.edge_index[0], t_at_s, nodes)
            else:
                per_node = _kl_over_all(s, student.edge_index[0], t, teacher.edge_index[0], s_at_t, nodes)
        return reduce(per_node, self.reduction)


def _kl_over_neighbours(p: Tensor, q: Tensor, group: Tensor, nodes: int) -> Tensor:
    log_p, log_q = segment_log_softmax(p, group, nodes), segment_log_softmax(q, group, nodes)
    return scatter(log_p.exp() * (log_p - log_q), group, dim_size=nodes, reduce="sum")


def _kl_over_all(p: Tensor, p_row: Tensor, q: Tensor, q_row: Tensor, p_at_q: Tensor, nodes: int) -> Tensor:
    """KL of the softmax over all nodes, row by row.

    Args:
        p: weights of the first graph, ``[E_P]``.
        p_row: row of each.
        q: weights of the second graph, ``[E_Q]``.
        q_row: row of each.
        p_at_q: weights of the first graph at the edges of the second, ``[E_Q]``.
        nodes: number of nodes M.

    Returns:
        ``[M]``.
    """
    log_zp, log_zq = _log_partition(p, p_row, nodes), _log_partition(q, q_row, nodes)
    # log_z is relative to log M, hence the probabilities to 1 / M.
    own = scatter((p - log_zp[p_row]).exp() * p, p_row, dim_size=nodes, reduce="sum")
    other = scatter((p_at_q - log_zp[q_row]).exp() * q, q_row, dim_size=nodes, reduce="sum")
    return (own - other) / nodes + log_zq - log_zp


def _log_partition(weight: Tensor, row: Tensor, nodes: int) -> Tensor:
    """Return log(Z / M) of each row, ``[M]``: the logarithm of the mean of e^a over all M entries a of the row."""
    degree = scatter(torch.ones_like(weight), row, dim_size=nodes, reduce="sum")
    zeros = nodes - degree
    top = scatter(weight.detach(), row, dim_size=nodes, reduce="max")
    top = torch.where(zeros > 0, top.clamp_min(0), top)
    excess = scatter(torch.expm1(weight - top[row]), row, dim_size=nodes, reduce="sum")
    # Small weights leave the mean close to 1, and the KL is a difference of such: log1p keeps its digits. Large ones
    # leave it close to 0, where 1 + x would lose them.
    near_one = torch.log1p((zeros * torch.expm1(-top) + excess) / nodes)
    near_zero = ((zeros * (-top).exp() + excess + degree) / nodes).log()
    return top + torch.where(top < 1, near_one, near_zero)


def _look_up(edge_index: Tensor, weight: Tensor, wanted: Tensor, nodes: int) -> Tensor:
    """Return the weight that a graph has at the ``wanted`` edges, 0 where it has no such edge."""
    if edge_index.shape[1] == 0:
        return weight.new_zeros(wanted.shape[1])
    key, order = (edge_index[0] * nodes + edge_index[1]).sort()
    wanted_key = wanted[0] * nodes + wanted[1]
    place = torch.searchsorted(key, wanted_key).clamp_max(key.numel() - 1)
    return torch.where(key[place] == wanted_key, weight[order[place]], 0.0)


def _weights(graph: Data, owner: str) -> Tensor:
    if graph.edge_weight is None:
        raise InputError(f"the {owner}'s graph has no edge_weight: build it with a weight, such as GaussianWeight()")
    return full_precision(graph.edge_weight)


def _same_nodes(student: Data, teacher: Data) -> int:
    require(
        student.num_nodes == teacher.num_nodes,
        f"student graph of {student.num_nodes} nodes, teacher graph of {teacher.num_nodes}: "
        "take the tokens of both at the same positions",
    )
    return student.num_nodes
