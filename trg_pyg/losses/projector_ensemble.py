"""A mean of projectors."""

import torch
from torch import Tensor, nn

from trg_pyg.errors import require
from trg_pyg.losses.base import DistillationLoss, check_rows
from trg_pyg.nn.projection import Projection
from trg_pyg.tokens.normalize import l2_normalize


class ProjectorEnsembleLoss(DistillationLoss):
    r"""One minus the cosine of the teacher's features and a mean of projections (Chen et al., arXiv 2210.15274).

    .. math:: L = \frac{1}{B} \sum_b \Big( 1 - \cos\Big( f^T_b, \frac{1}{n} \sum_{i=1}^n
        \mathrm{relu}(W_i f^S_b + c_i) \Big) \Big)

    The projectors begin differently and stay different; a mean of them fits the teacher less closely, and so leaves the
    student to classify. A zero vector has the cosine 0.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        projectors: n.

    Shapes:
        - student features ``[B, D_S]``, teacher features ``[B, D_T]``

    Raises:
        InputError: a width or the number of projectors is not positive, or the numbers of rows differ.
    """

    def __init__(self, student_dim: int, teacher_dim: int, projectors: int = 3) -> None:
        super().__init__()
        require(projectors >= 1, f"projectors={projectors}: there is at least 1")
        self.project = nn.ModuleList(Projection(student_dim, teacher_dim) for _ in range(projectors))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean, in [0, 2]."""
        check_rows(student, teacher)
        mean = torch.stack([project(student).relu() for project in self.project]).mean(0)
        return 1 - (l2_normalize(mean) * l2_normalize(teacher.detach())).sum(1).mean()
