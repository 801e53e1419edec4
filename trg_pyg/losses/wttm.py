"""Logit distillation of a flattened teacher at temperature 1."""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from trg_pyg.errors import require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.tokens.normalize import full_precision


class WTTMLoss(DistillationLoss):
    r"""Weighted transformed teacher matching (Zheng and Yang, arXiv 2402.11148).

    .. math:: L = \frac{1}{B} \sum_b U_b \, \mathrm{KL}\big(\hat p^T_b \,\Vert\, p^S_b\big), \qquad
        U_b = \sum_k (p^T_{bk})^\gamma, \qquad \hat p^T_{bk} = (p^T_{bk})^\gamma / U_b

    p is the softmax at temperature 1. The student has no temperature, and images of which the teacher is unsure count
    more: U is from 1 to :math:`C^{1 - \gamma}` for C classes. It is 0 where the student's logits are gamma times the
    teacher's, up to a constant a row.

    Args:
        gamma: exponent of the teacher's probabilities, in (0, 1]. 1 is the divergence at temperature 1.

    Shapes:
        - student and teacher logits ``[B, classes]``

    Raises:
        InputError: gamma is not in (0, 1], or the two networks have different numbers of classes.
    """

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        require(0 < gamma <= 1, f"gamma={gamma}: an exponent that flattens is above 0 and at most 1")
        self.gamma = gamma

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the batch mean."""
        check_logits(student, teacher)
        powers = self.gamma * log_softmax(full_precision(teacher.detach()), dim=1)
        log_u = powers.logsumexp(1, keepdim=True)
        log_s = log_softmax(full_precision(student), dim=1)
        rows = kl_div(log_s, powers - log_u, reduction="none", log_target=True).sum(1)
        return (log_u.squeeze(1).exp() * rows).mean()
