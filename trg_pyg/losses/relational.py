"""Relation x divergence on two graphs of the same nodes."""

from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.divergences.base import Divergence, Related
from trg_pyg.errors import require
from trg_pyg.graphs.batch import detach_graph
from trg_pyg.losses.base import DistillationLoss
from trg_pyg.relations.base import Relation, check_graph
from trg_pyg.step import Step


class RelationalLoss(DistillationLoss):
    """How far the relations of a student's graph are from those of its teacher's.

    With nodes and edges it is one of the four pieces that every relational method consists of: nodes x edges x
    relation x divergence.

    Args:
        relation: what a graph says of its nodes; a pair gives student and teacher one each, for relations that learn.
        divergence: compares what the two graphs say.
        detach: stop gradients to the teacher's graph; False leaves them to learned embeddings of its features.

    Shapes:
        - two graphs of M nodes; where the divergence needs it, with the same edges

    Raises:
        InputError: the divergence cannot compare such relations; or the graphs have different nodes or edges.
    """

    otherwise: ClassVar[str] = ""  # what else a method offers where the edges differ

    def __init__(
        self, relation: Relation | tuple[Relation, Relation], divergence: Divergence, *, detach: bool = True
    ) -> None:
        super().__init__()
        self.relation_student, self.relation_teacher = relation if isinstance(relation, tuple) else (relation, relation)
        divergence.check(self.relation_student, self.relation_teacher)
        self.divergence = divergence
        self.same_edges = divergence.needs_same_edges(self.relation_student)
        self.detach = detach

    def forward(self, student: Data, teacher: Data, step: Step | None = None) -> Tensor:
        """Return the divergence.

        Args:
            student: the student's graph.
            teacher: the teacher's.
            step: only memory banks need it.
        """
        for relation, graph in ((self.relation_student, student), (self.relation_teacher, teacher)):
            check_graph(graph, edges=relation.on != "nodes")
        require(
            student.num_nodes == teacher.num_nodes,
            f"student graph of {student.num_nodes} nodes, teacher graph of {teacher.num_nodes}: "
            "take the tokens of both at the same positions",
        )
        require(
            not self.same_edges or _same_edges(student, teacher),
            f"{type(self).__name__} compares values on the same edges, but student and teacher have different ones: "
            f"score the student on the teacher's edges (GraphBuilder.reweight){self.otherwise}",
        )
        on_device = teacher.edge_index if teacher.x is None else teacher.x
        with torch.autocast(on_device.device.type, enabled=False):
            return self.divergence(
                Related(self.relation_student, student),
                Related(self.relation_teacher, detach_graph(teacher) if self.detach else teacher),
                step,
            )


def _same_edges(student: Data, teacher: Data) -> bool:
    s, t = student.edge_index, teacher.edge_index
    return s is t or (s is not None and t is not None and torch.equal(s, t))
