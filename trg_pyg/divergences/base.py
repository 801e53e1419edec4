"""The contract of a divergence."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.relations.base import Place, Relation
from trg_pyg.step import Step

Reduction = Literal["mean", "sum"]


class Related(NamedTuple):
    """A network's side of a comparison.

    Attributes:
        relation: what is asked of the graph.
        graph: the network's graph.
    """

    relation: Relation
    graph: Data

    def values(self, block: Any = None) -> Tensor:
        """Return what the relation says of the graph, or of one block of it."""
        return self.relation(self.graph, block)


class Divergence(nn.Module, ABC):
    """How far a student's relations are from its teacher's.

    Attributes:
        accepts: places of relation values that it can compare.
        same_edges: whether both graphs need the same edges.
    """

    accepts: ClassVar[tuple[Place, ...]] = ("edges",)
    same_edges: bool = True

    @abstractmethod
    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return a scalar.

        Args:
            student: the student's relation and graph.
            teacher: the teacher's.
            step: labels, sample positions and random stream of the step, for divergences that need them.
        """

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make what depends on the training set; only memory banks do.

        Args:
            targets: class of every training image, ``[N]``, int64.
            generator: CPU generator for what is initialised at random.
        """

    def check(self, relation: Relation) -> None:
        """Raise :class:`~trg_pyg.errors.InputError` where the values of ``relation`` cannot be compared so."""
        if relation.on not in self.accepts:
            raise InputError(
                f"{type(self).__name__} of {type(relation).__name__}: the relation has values on {relation.on}, "
                f"the divergence compares values on {' or '.join(self.accepts)}"
            )


def reduce(per_item: Tensor, reduction: Reduction) -> Tensor:
    """Mean or sum of ``[items]``."""
    return per_item.mean() if reduction == "mean" else per_item.sum()
