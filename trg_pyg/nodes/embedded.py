"""Nodes in a width of their own."""

from torch import Tensor

from trg_pyg.models.taps import Outputs
from trg_pyg.nn.projection import Projection
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import l2_normalize


class Embedded(Nodes):
    """Other nodes through a linear embedding for each network, which learns with the student.

    Args:
        nodes: the nodes to embed.
        dim: width of the embeddings.
        unit: scale them to unit length.
    """

    frozen_teacher = False

    def __init__(self, nodes: Nodes, dim: int = 128, unit: bool = False) -> None:
        super().__init__()
        self.nodes, self.unit = nodes, unit
        self.embed_student = Projection(nodes.student_dim, dim)
        self.embed_teacher = Projection(nodes.teacher_dim, dim)
        self.student_dim = self.teacher_dim = dim
        self.per_image = nodes.per_image

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[G, N, dim]`` of each network."""
        s, t = self.nodes(student, teacher, step)
        s, t = self.embed_student(s), self.embed_teacher(t)
        return NodePair(l2_normalize(s), l2_normalize(t)) if self.unit else NodePair(s, t)

    def labels(self, target: Tensor, nodes: int) -> Tensor:
        """Return the classes of the embedded nodes."""
        return self.nodes.labels(target, nodes)
