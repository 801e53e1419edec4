"""What the networks say of the images, as nodes."""

from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision


class Probabilities(Nodes):
    """One node an image: its class probabilities, or its logits.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        softmax: probabilities; False for the logits themselves.
    """

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo, softmax: bool = True) -> None:
        super().__init__()
        self.student_dim, self.teacher_dim = student.num_classes, teacher.num_classes
        self.softmax = softmax

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[1, B, classes]`` of each network."""
        logits = full_precision(student.logits), full_precision(teacher.logits.detach())
        if self.softmax:
            logits = logits[0].softmax(1), logits[1].softmax(1)
        return NodePair(logits[0][None], logits[1][None])
