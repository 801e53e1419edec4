"""Divergences that compare value by value: squared and Huber's error."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torch.utils.checkpoint import checkpoint

from trg_pyg.divergences.base import Divergence, Related
from trg_pyg.errors import require
from trg_pyg.relations.base import Place
from trg_pyg.step import Step


class PointwiseDivergence(Divergence):
    """Mean of a function of the difference of two values, over all values of the relation.

    Values that come in blocks are made, compared and dropped one block after another, in the forward pass and again
    in the backward pass: no more than one block exists at a time.
    """

    accepts: ClassVar[tuple[Place, ...]] = ("edges", "triples", "nodes", "vectors")

    @abstractmethod
    def each(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the divergence of each pair of values, of their shape."""

    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return the mean over all values, 0 where there is none."""
        blocks = teacher.relation.blocks(teacher.graph)
        if len(blocks) == 1:
            total, count = self._block(student, teacher, None)
        else:
            parts = [checkpoint(self._block, student, teacher, block, use_reentrant=False) for block in blocks]
            total, count = torch.stack([part[0] for part in parts]).sum(), sum(part[1] for part in parts)
        return total / max(count, 1)

    def _block(self, student: Related, teacher: Related, block: Any) -> tuple[Tensor, int]:
        s, t = student.values(block), teacher.values(block)
        require(
            s.shape == t.shape,
            f"{type(self).__name__}: {tuple(s.shape)} student values and {tuple(t.shape)} teacher values; "
            "both networks need the same nodes and edges, and nodes of the same width where they are compared directly",
        )
        return self.each(s, t).sum(), s.numel()


class MSE(PointwiseDivergence):
    """Mean of the squared differences of all values."""

    def each(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the squared differences."""
        return (student - teacher).square()


class SmoothL1(PointwiseDivergence):
    """Mean over all values of half the squared difference up to 1, and of the difference less 1/2 beyond."""

    def each(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the error of each value."""
        return smooth_l1_loss(student, teacher, reduction="none")
