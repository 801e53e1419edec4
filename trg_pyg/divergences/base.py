"""The contract of a divergence."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from trg_pyg.errors import require
from trg_pyg.relations.base import Place, Relation
from trg_pyg.step import Share, Step

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
    """

    accepts: ClassVar[tuple[Place, ...]] = ("edges",)

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

    def check(self, student: Relation, teacher: Relation) -> None:
        """Raise :class:`~trg_pyg.errors.InputError` where the values of the two relations cannot be compared so."""
        for relation in (student, teacher):
            require(
                relation.on in self.accepts,
                f"{type(self).__name__} of {type(relation).__name__}: the relation has values on {relation.on}, "
                f"the divergence compares values on {' or '.join(self.accepts)}",
            )
        require(
            student.on == teacher.on,
            f"{type(student).__name__} has values on {student.on}, {type(teacher).__name__} on {teacher.on}: "
            "give both networks the same kind of relation",
        )

    def needs_same_edges(self, relation: Relation) -> bool:
        """Return whether student and teacher need the same edges for a value of one to have its like in the other."""
        return relation.on != "nodes"


def reduce(per_item: Tensor, reduction: Reduction, share: Share | None = None) -> Tensor:
    """Mean or sum of ``[items]``; of a share, which knows its own rows alone, see :class:`~trg_pyg.step.Share`."""
    if share is not None:
        own = per_item[share.rows(len(per_item))].mean()
        return own if reduction == "mean" else own * len(per_item)
    return per_item.mean() if reduction == "mean" else per_item.sum()
