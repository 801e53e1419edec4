"""Squared differences weighed by the teacher's Fisher information."""

from typing import Literal

from torch import Tensor
from torch.nn.functional import softmax

from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits, check_rows
from trg_pyg.tokens.normalize import full_precision

LogitForm = Literal["full", "diagonal", "plain"]
FeatureForm = Literal["fisher", "plain"]


class FisherLogitLoss(DistillationLoss):
    r"""Logit distillation to second order (after Hsu et al., arXiv 2203.10163).

    With :math:`d = z^S - z^T` and p the teacher's softmax at temperature tau,

    .. math:: L = \frac{\tau^2}{2} \, \frac{1}{B} \sum_b \mathrm{Var}_{p_b}(d_b / \tau), \qquad
        L_{diag} = \frac{\tau^2}{2} \, \frac{1}{B} \sum_b \sum_k p_{bk} (1 - p_{bk}) (d_{bk} / \tau)^2

    L is the second-order expansion of :class:`~trg_pyg.losses.logit.LogitKD` where the networks agree: the variance is
    d' F d with the Fisher information F of the logits, of which the other form takes the diagonal.

    Args:
        form: ``"full"``, ``"diagonal"``, or ``"plain"``: the mean of the squared differences, without weights.
        tau: temperature.

    Shapes:
        - student and teacher logits ``[B, classes]``

    Raises:
        InputError: tau is not positive, or the two networks have different numbers of classes.
    """

    def __init__(self, form: LogitForm = "full", tau: float = 4.0) -> None:
        super().__init__()
        check_choice("form", form, ("full", "diagonal", "plain"))
        check_positive("tau", tau)
        self.form, self.tau = form, tau

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the batch mean, 0 where the logits are equal."""
        check_logits(student, teacher)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        difference = student - teacher
        if self.form == "plain":
            return difference.square().mean()
        p = softmax(teacher / self.tau, dim=1)
        scaled = difference / self.tau
        if self.form == "diagonal":
            each = (p * (1 - p) * scaled.square()).sum(1)
        else:
            each = (p * (scaled - (p * scaled).sum(1, keepdim=True)).square()).sum(1)
        return self.tau**2 / 2 * each.mean()


class FisherFeatureLoss(DistillationLoss):
    r"""Embeddings compared where the teacher's classes depend on them (after Hsu et al., arXiv 2203.10163).

    .. math:: L = \frac{1}{2 B D} \sum_b \sum_d w_{bd} (f^S - f^T)_{bd}^2, \qquad
        w_{bd} = F_{bd} \Big/ \overline{F}, \qquad F_{bd} = \sum_k p_{bk} \big( W_{kd} - \sum_j p_{bj} W_{jd} \big)^2

    W is the teacher's linear classifier, p its softmax at temperature tau; F is then the diagonal of the Fisher
    information of the embedding, exactly. Its mean over batch and dimensions is divided out, so that the weights have
    a pattern and no scale: of a teacher that is sure of every image, F is close to 0.

    Args:
        form: ``"fisher"``, or ``"plain"`` with weights of 1.
        tau: temperature of the teacher's softmax.

    Shapes:
        - student and teacher embeddings ``[B, d]``, logits of the teacher ``[B, classes]``, its classifier's weight
          ``[classes, d]``

    Raises:
        InputError: tau is not positive, the embeddings have different shapes, or the weight fits neither.
    """

    def __init__(self, form: FeatureForm = "fisher", tau: float = 4.0) -> None:
        super().__init__()
        check_choice("form", form, ("fisher", "plain"))
        check_positive("tau", tau)
        self.form, self.tau = form, tau

    def forward(self, student: Tensor, teacher: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
        """Return the batch mean, 0 where the embeddings are equal."""
        check_rows(student, teacher)
        require(
            student.shape == teacher.shape
            and logits.dim() == weight.dim() == 2
            and logits.shape[0] == len(teacher)
            and tuple(weight.shape) == (logits.shape[1], teacher.shape[1])
            and weight.numel() > 0,
            f"embeddings {tuple(student.shape)} and {tuple(teacher.shape)}, logits {tuple(logits.shape)} and "
            f"classifier {tuple(weight.shape)}: bring the student's embedding to the teacher's width",
        )
        squares = (full_precision(student) - full_precision(teacher.detach())).square()
        if self.form == "fisher":
            logits = full_precision(logits.detach())
            squares = squares * self._weights(logits, weight.detach().to(logits.dtype))
        return squares.mean() / 2

    def _weights(self, logits: Tensor, weight: Tensor) -> Tensor:
        p = softmax(logits / self.tau, dim=1)
        # What all classes share changes no softmax; without it, the difference of two squares below loses no digits.
        weight = weight - weight.mean(0)
        fisher = (p @ weight.square() - (p @ weight).square()).clamp(min=0)
        mean = fisher.mean()
        # A teacher that is sure of everything says nothing of what matters.
        return fisher / mean.where(mean > 0, mean.new_ones(()))
