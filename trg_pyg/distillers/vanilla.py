"""The student alone."""

from typing import ClassVar

from torch import Tensor

from trg_pyg.distillers.base import Distiller, Labels, Taps
from trg_pyg.models.taps import Outputs
from trg_pyg.step import Step
from trg_pyg.tasks.base import Task


class Vanilla(Distiller):
    """Cross-entropy on the labels, no teacher: the baseline of every distillation table, and how teachers are trained.

    Args:
        student: the student's classes and tapped features.
        teacher: not used.
    """

    needs_teacher: ClassVar[bool] = False
    taps: ClassVar[Taps] = "none"
    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)
    per_image: ClassVar[bool] = True
    labels: Labels = "mixed"

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts of the loss of the labels, ``ce`` where they are classes."""
        self.check_batch(student, None, step)
        return {name: (1.0, value) for name, value in self.task.supervised(student, step).items()}
