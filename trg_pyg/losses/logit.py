"""Logit distillation."""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from trg_pyg.errors import check_positive
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.tokens.normalize import full_precision


class LogitKD(DistillationLoss):
    r"""Knowledge distillation of Hinton et al. (arXiv 1503.02531).

    .. math:: L_{KD} = \tau^2 \, \frac{1}{B} \sum_b
        \mathrm{KL}\big(\mathrm{softmax}(z^T_b / \tau) \,\Vert\, \mathrm{softmax}(z^S_b / \tau)\big)

    Args:
        tau: temperature.

    Shapes:
        - student and teacher logits ``[B, classes]``

    Raises:
        InputError: tau is not positive, or the two networks have different numbers of classes.
    """

    def __init__(self, tau: float = 4.0) -> None:
        super().__init__()
        check_positive("tau", tau)
        self.tau = tau

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the batch mean, 0 where the logits are equal up to a constant a row."""
        check_logits(student, teacher)
        log_s = log_softmax(full_precision(student) / self.tau, dim=1)
        log_t = log_softmax(full_precision(teacher.detach()) / self.tau, dim=1)
        return self.tau**2 * kl_div(log_s, log_t, reduction="batchmean", log_target=True)
