"""Correlation congruence."""

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.losses.base import DistillationLoss, check_rows
from trg_pyg.nn.projection import Projection


class CorrelationLoss(DistillationLoss):
    r"""Correlation congruence (Peng et al., arXiv 1904.01802) in the form of its author's code, as in RepDistiller.

    .. math:: L = \frac{1}{B - 1} \sum_{i=1}^{B-1} \langle \delta_i, \delta_{i+1} \rangle, \qquad
        \delta_i = \lvert W_S f^S_i - W_T f^T_i \rvert

    with biases in both linear embeddings. It is 0 where each second image's embeddings agree. The teacher's features
    are detached; its embedding trains with the student's.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        dim: width of the embeddings.

    Shapes:
        - student features ``[B, D_S]``, teacher features ``[B, D_T]``, B at least 2

    Raises:
        InputError: a width is not positive, the numbers of rows differ, or there are fewer than 2.
    """

    def __init__(self, student_dim: int, teacher_dim: int, dim: int = 128) -> None:
        super().__init__()
        self.project_student = Projection(student_dim, dim)
        self.project_teacher = Projection(teacher_dim, dim)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean over pairs of consecutive rows."""
        check_rows(student, teacher)
        require(
            len(student) >= 2,
            f"a batch of {len(student)}: correlation compares consecutive images, so every batch needs at least 2",
        )
        delta = (self.project_student(student) - self.project_teacher(teacher.detach())).abs()
        with torch.autocast(student.device.type, enabled=False):
            return (delta[:-1] * delta[1:]).sum(1).mean()
