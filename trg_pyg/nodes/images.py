"""Images as nodes: their embeddings, feature maps or class probabilities."""

import math

from torch import Tensor

from trg_pyg.errors import InputError, check_positive
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map
from trg_pyg.tokens.normalize import full_precision


class Instances(Nodes):
    """One node an image: the embedding that its network classifies, the pooled feature of the literature.

    Of a network whose classifier is not a linear layer it is the last tap, averaged over the image.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.

    Raises:
        InputError: a network has neither an embedding nor a tap.
    """

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.student_dim, self.teacher_dim = _width(student, "student"), _width(teacher, "teacher")

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[1, B, D_S]`` and ``[1, B, D_T]``."""
        return NodePair(_embedding(student, self.student)[None], _embedding(teacher, self.teacher).detach()[None])


class FlattenedMaps(Nodes):
    """One node an image: a feature map, flattened.

    Args:
        student: the student's features.
        teacher: the teacher's.
        student_stage: which of the student's taps, as an index: -1 is the last.
        teacher_stage: which of the teacher's.

    Raises:
        InputError: a network has no such tap.
    """

    def __init__(
        self, student: NetworkInfo, teacher: NetworkInfo, student_stage: int = -1, teacher_stage: int = -1
    ) -> None:
        super().__init__()
        self.student_stage, self.teacher_stage = student_stage, teacher_stage
        self.student = at_stage(student, student_stage, "student")
        self.teacher = at_stage(teacher, teacher_stage, "teacher")
        self.student_dim, self.teacher_dim = (
            info.channels * math.prod(info.grid) for info in (self.student, self.teacher)
        )

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[1, B, C H W]`` of each network."""
        return NodePair(
            as_map(student.features[self.student_stage], self.student).flatten(1)[None],
            as_map(teacher.features[self.teacher_stage], self.teacher).detach().flatten(1)[None],
        )


class Probabilities(Nodes):
    """One node an image: its class probabilities, or its logits.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        softmax: probabilities; False for the logits themselves.
        tau: temperature, which divides the logits.

    Raises:
        InputError: tau is not positive.
    """

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo, softmax: bool = True, tau: float = 1.0) -> None:
        super().__init__()
        check_positive("tau", tau)
        self.student_dim, self.teacher_dim = student.num_classes, teacher.num_classes
        self.softmax, self.tau = softmax, tau

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[1, B, classes]`` of each network."""
        logits = full_precision(student.logits) / self.tau, full_precision(teacher.logits.detach()) / self.tau
        if self.softmax:
            logits = logits[0].softmax(1), logits[1].softmax(1)
        return NodePair(logits[0][None], logits[1][None])


def _width(network: NetworkInfo, owner: str) -> int:
    return at_stage(network, -1, owner).channels if network.embedding is None else network.embedding


def _embedding(outputs: Outputs, network: NetworkInfo) -> Tensor:
    if network.embedding is not None:
        if outputs.embedding is None:
            raise InputError("the network's outputs have no embedding: describe and call it as one TappedModel")
        return outputs.embedding
    return as_map(outputs.features[-1], network.features[-1]).mean(
        dim=tuple(range(2, 2 + len(network.features[-1].grid)))
    )
