"""Logit distillation."""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.tokens.normalize import full_precision


class LogitKD(DistillationLoss):
    r"""Knowledge distillation of Hinton et al. (arXiv 1503.02531).

    .. math:: L_{KD} = \tau^2 \, \frac{1}{B} \sum_b
        \mathrm{KL}\big(\mathrm{softmax}(z^T_b / \tau) \,\Vert\, \mathrm{softmax}(z^S_b / \tau)\big)

    Args:
        tau: temperature.
        standardize: compare the logits behind :func:`standardized`.

    Shapes:
        - student and teacher logits ``[B, classes]``

    Raises:
        InputError: tau is not positive, the two networks have different numbers of classes, or logits of one class
            are to be standardised.
    """

    def __init__(self, tau: float = 4.0, standardize: bool = False) -> None:
        super().__init__()
        check_positive("tau", tau)
        self.tau, self.standardize = tau, standardize

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the batch mean, 0 where the logits are equal up to a constant a row; standardised, and a factor."""
        check_logits(student, teacher)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        log_s, log_t = log_softmax(student / self.tau, dim=1), log_softmax(teacher / self.tau, dim=1)
        return self.tau**2 * kl_div(log_s, log_t, reduction="batchmean", log_target=True)


def standardized(logits: Tensor) -> Tensor:
    r"""Return each row of logits with mean 0 and standard deviation 1 (Sun et al., arXiv 2403.01427).

    .. math:: \frac{z_b - \mathrm{mean}(z_b)}{\mathrm{std}(z_b) + 10^{-7}}

    The deviation is the unbiased one, as in the public code. A row of equal logits becomes 0.

    Args:
        logits: ``[B, classes]``, float32 or float64.

    Raises:
        InputError: there is one class only, which has no deviation.
    """
    require(
        logits.shape[1] >= 2,
        f"logits {tuple(logits.shape)}: one class has no deviation; standardising needs 2 classes",
    )
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)
