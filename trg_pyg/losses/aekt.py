"""The teacher's confidence in the label beside what it says of the other classes."""

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from trg_pyg.batch import check_target
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.losses.dkd import decouple
from trg_pyg.tokens.normalize import full_precision

Explicit = Literal["binary", "ratio", "log_ratio"]


class ExplicitKnowledgeLoss(DistillationLoss):
    r"""Explicit and implicit knowledge, after Park and Lee (arXiv 2409.01679).

    .. math:: L = \tau^2 \, \frac{1}{B} \sum_b \big[
        \alpha \, r_b \, \mathrm{KL}(b^T \Vert b^S) + \beta \, \mathrm{KL}(\hat p^T \Vert \hat p^S) \big],
        \qquad r_b = \min(p^T_y / p^S_y, r_{max})

    with b and :math:`\hat p` of :class:`~trg_pyg.losses.dkd.DKDLoss`, and r of the softmax at temperature 1, without
    gradient: it is above 1 where the student is less sure of the label than the teacher.

    The paper's text gives the idea, no equation: that the explicit part is the label's confidence, weighed by the
    ratio of teacher and student. The form is ours, and two others can be chosen.

    Args:
        alpha: weight of the explicit part.
        beta: weight of the implicit part, the distribution over the other classes.
        tau: temperature.
        explicit: ``"binary"`` as above; ``"ratio"``: :math:`-r_b \log b^S_y`, whose gradient is that of the quotient
            :math:`r_b`, up to its sign; ``"log_ratio"``: :math:`(\log b^T_y - \log b^S_y)^2 / 2`.
        ratio: weigh the binary part by r; False leaves it at 1, and the loss is DKD's.
        most: :math:`r_{max}`, >= 1.

    Shapes:
        - student and teacher logits ``[B, classes]``, ``target`` ``[B]``, int64

    Raises:
        InputError: tau is not positive, a weight is negative, ``most`` is below 1, the two networks have different
            numbers of classes, there is one class only, or there is not one label an image.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 2.0,
        tau: float = 4.0,
        explicit: Explicit = "binary",
        ratio: bool = True,
        most: float = 10.0,
    ) -> None:
        super().__init__()
        check_positive("tau", tau)
        check_choice("explicit", explicit, ("binary", "ratio", "log_ratio"))
        for name, weight in (("alpha", alpha), ("beta", beta)):
            require(weight >= 0, f"{name}={weight}: a weight is 0 (off) or positive")
        require(1 <= most < math.inf, f"most={most}: the largest ratio is a number of at least 1")
        self.alpha, self.beta, self.tau = alpha, beta, tau
        self.explicit, self.ratio, self.most = explicit, ratio, most

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """Return the batch mean, 0 where the logits are equal up to a constant a row (but for ``"ratio"``)."""
        check_logits(student, teacher)
        require(
            student.shape[1] >= 2,
            f"logits {tuple(student.shape)}: with one class there are no others to distil; it needs 2 classes",
        )
        check_target(target, student)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        binary_s, others_s = decouple(student / self.tau, target)
        binary_t, others_t = decouple(teacher / self.tau, target)
        implicit = kl_div(others_s, others_t, reduction="batchmean", log_target=True)
        return self.tau**2 * (
            self.alpha * self._explicit(binary_s, binary_t, student, teacher, target).mean() + self.beta * implicit
        )

    def _explicit(self, binary_s: Tensor, binary_t: Tensor, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        if self.explicit == "log_ratio":
            return (binary_t[:, 0] - binary_s[:, 0]).square() / 2
        log_ratio = _of_label(teacher, target) - _of_label(student.detach(), target)
        ratio = log_ratio.clamp(max=math.log(self.most)).exp()
        if self.explicit == "ratio":
            return -ratio * binary_s[:, 0]
        divergence = kl_div(binary_s, binary_t, reduction="none", log_target=True).sum(1)
        return ratio * divergence if self.ratio else divergence


def _of_label(logits: Tensor, target: Tensor) -> Tensor:
    return log_softmax(logits, dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
