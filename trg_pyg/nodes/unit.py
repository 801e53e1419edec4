"""Nodes of unit length."""

from torch import Tensor

from trg_pyg.models.taps import Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import l2_normalize


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
