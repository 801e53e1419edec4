"""Images as nodes, with all of a feature map."""

from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map


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
            info.channels * info.grid[0] * info.grid[1] for info in (self.student, self.teacher)
        )

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[1, B, C H W]`` of each network."""
        return NodePair(
            as_map(student.features[self.student_stage], self.student).flatten(1)[None],
            as_map(teacher.features[self.teacher_stage], self.teacher).detach().flatten(1)[None],
        )
