"""Logit distillation of the label's class and of normalised others."""

from torch import Tensor
from torch.nn.functional import softmax

from trg_pyg.batch import check_target
from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.losses.dkd import decouple
from trg_pyg.tokens.normalize import full_precision


class NKDLoss(DistillationLoss):
    r"""Normalised knowledge distillation (Yang et al., arXiv 2303.13005).

    .. math:: L = -\frac{1}{B} \sum_b \Big[ p^T_y \log p^S_y
        + \gamma \, \tau^2 \sum_{k \neq y} \hat p^T_k \log \hat p^S_k \Big]

    p is the softmax at temperature 1 and y the image's label; :math:`\hat p` is the softmax at temperature tau over the
    other classes only. Both parts are cross-entropies: the loss is not 0 where the networks agree, and only its second
    part is least there.

    Args:
        gamma: weight of the other classes.
        tau: temperature of the other classes.

    Shapes:
        - student and teacher logits ``[B, classes]``, ``target`` ``[B]``, int64

    Raises:
        InputError: tau is not positive, gamma is negative, the two networks have different numbers of classes, there is
            one class only, or there is not one label an image.
    """

    def __init__(self, gamma: float = 1.5, tau: float = 1.0) -> None:
        super().__init__()
        check_positive("tau", tau)
        require(gamma >= 0, f"gamma={gamma}: a weight is 0 (off) or positive")
        self.gamma, self.tau = gamma, tau

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """Return the batch mean."""
        check_logits(student, teacher)
        require(
            student.shape[1] >= 2,
            f"logits {tuple(student.shape)}: with one class there are no others to distil; it needs 2 classes",
        )
        check_target(target, student)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        label = target.unsqueeze(1)
        of_label = softmax(teacher, dim=1).gather(1, label) * decouple(student, target)[0][:, :1]
        _, others_s = decouple(student / self.tau, target)
        _, others_t = decouple(teacher / self.tau, target)
        of_others = (others_t.exp() * others_s).sum(1)
        return -(of_label.squeeze(1) + self.gamma * self.tau**2 * of_others).mean()
