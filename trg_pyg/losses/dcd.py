"""Discriminative and consistent distillation."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_rows
from trg_pyg.nn.projection import Projection
from trg_pyg.tokens.normalize import l2_normalize


class DCDLoss(DistillationLoss):
    r"""Each image finds its own among the teacher's of a batch, the same way back (DCD, arXiv 2407.11802).

    .. math:: L = -\frac{1}{B} \sum_i \log p_{ii} + \alpha \, \frac{1}{B} \sum_i \mathrm{KL}(q_i \Vert p_i), \qquad
        p_{ij} = \mathrm{softmax}_j(\ell_{ij}), \quad q_{ij} = \mathrm{softmax}_j(\ell_{ji}), \quad
        \ell_{ij} = \min(e^\theta, s) \cos(W_S f^S_i, W_T f^T_j) + b

    p is how likely student i finds teacher j, q how likely teacher i finds student j. :math:`\theta`, b and both
    embeddings learn; b moves all values of a row alike, so that it stays where it begins, as in the public code.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        dim: width of the embeddings.
        alpha: weight of the second term.
        scale: s, the largest factor of the cosines.

    Shapes:
        - student features ``[B, D_S]``, teacher features ``[B, D_T]``

    Raises:
        InputError: a width or the scale is not positive, alpha is negative, or the numbers of rows differ.
    """

    def __init__(
        self, student_dim: int, teacher_dim: int, dim: int = 128, alpha: float = 0.5, scale: float = 10.0
    ) -> None:
        super().__init__()
        require(alpha >= 0, f"alpha={alpha}: a weight is 0 (off) or positive")
        check_positive("scale", scale)
        self.project_student, self.project_teacher = Projection(student_dim, dim), Projection(teacher_dim, dim)
        self.theta, self.offset = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
        self.alpha, self.scale = alpha, scale

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the sum of both terms, 0 of a single image."""
        check_rows(student, teacher)
        s = l2_normalize(self.project_student(student))
        t = l2_normalize(self.project_teacher(teacher.detach()))
        with torch.autocast(s.device.type, enabled=False):
            logits = self.theta.exp().clamp(max=self.scale) * (s @ t.T) + self.offset
            own = torch.arange(len(logits), device=logits.device)
            log_p, log_q = logits.log_softmax(1), logits.T.log_softmax(1)
            consistency = kl_div(log_p, log_q, reduction="batchmean", log_target=True)
            return cross_entropy(logits, own) + self.alpha * consistency
