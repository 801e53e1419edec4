"""TRG's local structure loss, exact without an M x M matrix."""

from typing import ClassVar, Literal

from trg_pyg.divergences.base import Reduction
from trg_pyg.divergences.kl import KL
from trg_pyg.losses.relational import RelationalLoss
from trg_pyg.relations.carried import GivenWeight
from trg_pyg.relations.softmax import Softmax


class LocalStructureLoss(RelationalLoss):
    r"""Divergence between the two networks' distributions over the neighbours of each node.

    The paper's L_local (arXiv 2306.12442) is, with :math:`p_i` the softmax of row i of the weighted adjacency matrix
    over **all** M nodes, zeros included,

    .. math:: L_{local} = \sum_i \mathrm{KL}(p_i \Vert q_i)

    exact in O(edges) memory, see :class:`~trg_pyg.divergences.kl.KL`. (The edge i -> j of ``edge_index`` is the entry
    (i, j).) As a composition: edge weights, softmax, KL.

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

    otherwise: ClassVar[str] = ", or use support=all"

    def __init__(
        self,
        support: Literal["all", "neighbors"] = "all",
        direction: Literal["teacher", "student"] = "teacher",
        temperature: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(Softmax(GivenWeight(), temperature, support), KL(direction, reduction))
