"""Nodes made of other nodes: embedded in a width of their own, or scaled to unit length."""

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
        learn_teacher: let the teacher's embedding learn; False leaves it at random, as it begins.
    """

    def __init__(self, nodes: Nodes, dim: int = 128, learn_teacher: bool = True) -> None:
        super().__init__()
        self.nodes = nodes
        self.embed_student = Projection(nodes.student_dim, dim)
        self.embed_teacher = Projection(nodes.teacher_dim, dim).requires_grad_(learn_teacher)
        self.frozen_teacher = not learn_teacher
        self.student_dim = self.teacher_dim = dim
        self.per_image, self.num_tokens, self.layers = nodes.per_image, nodes.num_tokens, nodes.layers

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[G, N, dim]`` of each network."""
        s, t = self.nodes(student, teacher, step)
        return NodePair(self.embed_student(s), self.embed_teacher(t))

    def labels(self, target: Tensor, nodes: int) -> Tensor:
        """Return the classes of the embedded nodes."""
        return self.nodes.labels(target, nodes)


class UnitLength(Nodes):
    """Other nodes, scaled to unit length: kernels of raw features underflow.

    Args:
        nodes: the nodes to scale; a zero vector stays one.
    """

    def __init__(self, nodes: Nodes) -> None:
        super().__init__()
        self.nodes = nodes
        self.student_dim, self.teacher_dim = nodes.student_dim, nodes.teacher_dim
        self.per_image, self.num_tokens, self.layers = nodes.per_image, nodes.num_tokens, nodes.layers
        self.frozen_teacher = nodes.frozen_teacher

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return the nodes of each network at unit length."""
        s, t = self.nodes(student, teacher, step)
        return NodePair(l2_normalize(s), l2_normalize(t))

    def labels(self, target: Tensor, nodes: int) -> Tensor:
        """Return the classes of the nodes."""
        return self.nodes.labels(target, nodes)
