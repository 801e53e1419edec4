"""Channels of a map as nodes."""

import math

from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nn.conv_norm import ConvNorm
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map
from trg_pyg.tokens.normalize import full_precision


class Channels(Nodes):
    """One graph an image, whose nodes are the channels of the last tap, each with its values on the grid.

    A 1x1 convolution with batch norm, which learns, gives the student as many channels as the teacher has. The grids
    may differ.

    Args:
        student: the student's features.
        teacher: the teacher's.

    Raises:
        InputError: a network has no tap.
    """

    per_image = True

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo) -> None:
        super().__init__()
        self.student, self.teacher = at_stage(student, -1, "student"), at_stage(teacher, -1, "teacher")
        self.project = ConvNorm(self.student.channels, self.teacher.channels)
        self.num_tokens = self.teacher.channels
        self.student_dim, self.teacher_dim = (math.prod(info.grid) for info in (self.student, self.teacher))

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[B, C_T, H_S W_S]`` and ``[B, C_T, H_T W_T]``."""
        projected = self.project(as_map(student.features[-1], self.student))
        goal = full_precision(as_map(teacher.features[-1].detach(), self.teacher))
        return NodePair(projected.flatten(2), goal.flatten(2))
