"""Images as nodes."""

from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map


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


def _width(network: NetworkInfo, owner: str) -> int:
    return at_stage(network, -1, owner).channels if network.embedding is None else network.embedding


def _embedding(outputs: Outputs, network: NetworkInfo) -> Tensor:
    if network.embedding is not None:
        if outputs.embedding is None:
            raise InputError("the network's outputs have no embedding: describe and call it as one TappedModel")
        return outputs.embedding
    return as_map(outputs.features[-1], network.features[-1]).mean(dim=(2, 3))
