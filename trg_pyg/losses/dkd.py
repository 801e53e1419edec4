"""Decoupled logit distillation."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, logsigmoid

from trg_pyg.batch import check_target
from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.losses.logit import standardized
from trg_pyg.tokens.normalize import full_precision


class DKDLoss(DistillationLoss):
    r"""Decoupled knowledge distillation (Zhao et al., arXiv 2203.08679).

    .. math:: L = \tau^2 \, \frac{1}{B} \sum_b \big[
        \alpha \, \mathrm{KL}(b^T \Vert b^S) + \beta \, \mathrm{KL}(\hat p^T \Vert \hat p^S) \big]

    with :math:`b = (p_y, 1 - p_y)` of the softmax p at temperature tau and the image's label y, and :math:`\hat p` the
    softmax over the other classes only. Plain distillation (:class:`~trg_pyg.losses.logit.LogitKD`) is alpha 1 and, in
    place of beta, :math:`1 - p^T_y` of each image.

    Args:
        alpha: weight of the target class against the rest.
        beta: weight of the distribution over the other classes. The authors' code has 8 for resnet32x4 -> resnet8x4 on
            CIFAR-100, and 2 for resnet56 -> resnet20.
        tau: temperature.
        standardize: compare the logits behind :func:`~trg_pyg.losses.logit.standardized`.

    Shapes:
        - student and teacher logits ``[B, classes]``, ``target`` ``[B]``, int64

    Raises:
        InputError: tau is not positive, a weight is negative, the two networks have different numbers of classes, there
            is one class only, or there is not one label an image.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, tau: float = 4.0, standardize: bool = False) -> None:
        super().__init__()
        check_positive("tau", tau)
        for name, weight in (("alpha", alpha), ("beta", beta)):
            require(weight >= 0, f"{name}={weight}: a weight is 0 (off) or positive")
        self.alpha, self.beta, self.tau, self.standardize = alpha, beta, tau, standardize

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """Return the batch mean, 0 where the logits are equal up to a constant a row."""
        check_logits(student, teacher)
        require(
            student.shape[1] >= 2,
            f"logits {tuple(student.shape)}: with one class there are no others to distil; it needs 2 classes",
        )
        check_target(target, student)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        binary_s, others_s = decouple(student / self.tau, target)
        binary_t, others_t = decouple(teacher / self.tau, target)
        target_class = kl_div(binary_s, binary_t, reduction="batchmean", log_target=True)
        other_classes = kl_div(others_s, others_t, reduction="batchmean", log_target=True)
        return self.tau**2 * (self.alpha * target_class + self.beta * other_classes)


def decouple(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of b ``[B, 2]`` and of the distribution over the other classes ``[B, classes - 1]``."""
    label = target.unsqueeze(1)
    # The other classes' columns are picked instead of masked: no -inf or -1000 enters the arithmetic.
    column = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, column + (column >= label))
    # p_y is the sigmoid of this margin, so that neither p_y nor 1 - p_y is ever rounded to 0 or 1.
    margin = logits.gather(1, label) - others.logsumexp(1, keepdim=True)
    return logsigmoid(torch.cat([margin, -margin], dim=1)), log_softmax(others, dim=1)
