"""A relation in units of its own."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from trg_pyg.errors import check_choice, require
from trg_pyg.relations.base import Relation, graph_numbers
from trg_pyg.step import Share


class Scaled(Relation):
    r"""Divides the values on edges by a size of theirs, through which gradient flows as well.

    Args:
        of: the relation on edges.
        by: ``"mean"``: the mean of a graph's positive values (RKD, arXiv 1904.05068). ``"max"``: its largest value
            (IRG, CVPR 2019). ``"norm"``: the Euclidean norm of the values into a node (SP, arXiv 1907.09682).
            ``"sum"``: their sum, which makes values that are not negative a distribution (PKT, arXiv 1803.10837).

    Values whose size is 0 are 0, without gradient.

    Raises:
        InputError: the relation is not on edges, or there is no such size.
    """

    def __init__(self, of: Relation, by: Literal["mean", "max", "norm", "sum"]) -> None:
        super().__init__()
        check_choice("by", by, ("mean", "max", "norm", "sum"))
        require(of.on == "edges", f"Scaled {type(of).__name__}: it has values on {of.on}, scaling needs them on edges")
        self.of, self.by = of, by
        self.nonnegative = of.nonnegative
        self.distribution = by == "sum" and of.nonnegative

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the scaled value of each edge, ``[E]``."""
        value, target = self.of(graph), graph.edge_index[1]
        if self.by in ("norm", "sum"):
            group, groups = target, graph.num_nodes
        else:
            numbers, groups = graph_numbers(graph)
            group = torch.zeros_like(target) if numbers is None else numbers[target]
        share: Share | None = getattr(graph, "share", None)
        if self.by == "mean":
            positive = value > 0
            count = scatter(positive.to(value.dtype), group, dim_size=groups, reduce="sum")
            total = scatter(value * positive, group, dim_size=groups, reduce="sum")
            if share is not None:
                images = share.last - share.first
                total, count = _of_shares(torch.cat([total, count]) / images, share).sum(0).split(1)
            size = total / count.clamp_min(1)
        elif self.by == "norm":
            # Over the largest value of the group, whose square would overflow or underflow long before itself.
            largest = scatter(value.detach().abs(), group, dim_size=groups, reduce="max")
            unit = value / torch.where(largest == 0, 1.0, largest)[group]
            square = scatter(unit.square(), group, dim_size=groups, reduce="sum")
            # The gradient of a square root at 0 is infinite.
            size = largest * torch.where(square == 0, 1.0, square).sqrt()
        else:
            size = scatter(value, group, dim_size=groups, reduce=self.by)
            if share is not None and self.by == "max":
                size = _of_shares(size, share).amax(0)
        size = size[group]
        # What underflows has no digits left, and the gradient of its reciprocal overflows: that of each value, or the
        # sum of up to a million of them.
        zero = size.abs() < 2**20 * torch.finfo(size.dtype).tiny
        return torch.where(zero, 0.0, value / torch.where(zero, 1.0, size))


def _of_shares(found: Tensor, share: Share) -> Tensor:
    """Return what each process found of one graph, ``[n]``, once for each image of its own, ``[images, n]``."""
    return share.gather(found.expand(share.last - share.first, -1))
