"""A loss on one pair of feature maps."""

from torch import Tensor

from trg_pyg.distillers.terms import Term
from trg_pyg.losses.base import DistillationLoss
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map


class MapTerm(Term):
    """Compares one tap of each network, as maps ``[B, C, H, W]``; a transformer's tokens are a map too.

    Args:
        loss: takes the student's map and the teacher's.
        student: the student's tap.
        teacher: the teacher's.
        student_stage: index of the student's tap.
        teacher_stage: index of the teacher's.
    """

    def __init__(
        self,
        loss: DistillationLoss,
        student: FeatureInfo,
        teacher: FeatureInfo,
        student_stage: int,
        teacher_stage: int,
    ) -> None:
        super().__init__()
        self.loss, self.student, self.teacher = loss, student, teacher
        self.student_stage, self.teacher_stage = student_stage, teacher_stage

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the two maps."""
        return self.loss(
            as_map(student.features[self.student_stage], self.student),
            as_map(teacher.features[self.teacher_stage], self.teacher),
        )


def stage_pairs(student: NetworkInfo, teacher: NetworkInfo) -> list[tuple[int, FeatureInfo, FeatureInfo]]:
    """Pair the taps of two networks from the last one backwards, as many as both have.

    Returns:
        Index (from the end, so it holds for both), the student's tap and the teacher's, shallow pairs first.

    Raises:
        InputError: a network has no tap.
    """
    at_stage(student, -1, "student"), at_stage(teacher, -1, "teacher")
    both = min(len(student.features), len(teacher.features))
    return [(stage, student.features[stage], teacher.features[stage]) for stage in range(-both, 0)]
