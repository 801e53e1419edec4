"""Logit distillation between and within groups of classes."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.losses.class_counts import class_counts
from trg_pyg.tokens.normalize import full_precision


class LTKDLoss(DistillationLoss):
    r"""Distillation from a teacher that prefers frequent classes (Kim, arXiv 2506.18496).

    .. math:: L = \tau^2 \, \frac{1}{B} \sum_b \Big[ \alpha \, \mathrm{KL}(q_b \Vert g^S_b)
        + \beta \sum_G \mathrm{KL}(\hat p^T_{bG} \Vert \hat p^S_{bG}) \Big], \qquad
        q_{bG} \propto g^T_{bG} \Big/ \sum_{b'} g^T_{b'G}

    The classes, ordered by how many training images they have, make three groups G: the first 33 % head, the last 33 %
    tail, both rounded, the others medium; of two equally frequent classes the earlier comes first. g are the
    probabilities of the groups at temperature tau, :math:`\hat p` those of the classes within a group. Over a batch the
    teacher's q gives the groups equal mass, up to its normalisation of each image. Plain distillation
    (:class:`~trg_pyg.losses.logit.LogitKD`) has g in place of q, and weighs the groups by :math:`g^T_b`.

    Args:
        classes: number of classes.
        alpha: weight of what is between groups.
        beta: weight of what is within them.
        tau: temperature.

    Shapes:
        - student and teacher logits ``[B, classes]``

    Raises:
        InputError: tau is not positive, a weight is negative, there are less than 3 classes, or other numbers of them
            than it was made for; the training set was not shown by :meth:`bind`.
    """

    def __init__(self, classes: int, alpha: float = 1.0, beta: float = 1.0, tau: float = 4.0) -> None:
        super().__init__()
        check_positive("tau", tau)
        for name, weight in (("alpha", alpha), ("beta", beta)):
            require(weight >= 0, f"{name}={weight}: a weight is 0 (off) or positive")
        require(classes >= 3, f"{classes} classes make no three groups; it needs 3")
        self.classes, self.alpha, self.beta, self.tau = classes, alpha, beta, tau
        ends = round(0.33 * classes)
        self.sizes = [ends, classes - 2 * ends, ends]
        # Classes in the order of their frequency.
        self.register_buffer("order", None, persistent=False)

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Order the classes by their number of images.

        Args:
            targets: class of every training image, ``[N]``, int64.
            generator: not used.

        Raises:
            InputError: a label is no class.
        """
        self.order = class_counts(targets, self.classes, empty=True).argsort(descending=True, stable=True)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the batch mean."""
        check_logits(student, teacher)
        require(
            student.shape[1] == self.classes,
            f"logits {tuple(student.shape)}, and the loss was made for {self.classes} classes",
        )
        require(self.order is not None, "how many images each class has is not known: call bind(targets, generator)")
        groups_s, within_s = self._parted(full_precision(student))
        groups_t, within_t = self._parted(full_precision(teacher.detach()))
        balanced = log_softmax(groups_t - groups_t.logsumexp(0), dim=1)
        between = kl_div(groups_s, balanced, reduction="batchmean", log_target=True)
        within = torch.stack(
            [kl_div(s, t, reduction="batchmean", log_target=True) for s, t in zip(within_s, within_t, strict=True)]
        ).sum()
        return self.tau**2 * (self.alpha * between + self.beta * within)

    def _parted(self, logits: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logarithms of the groups' probabilities ``[B, 3]``, and for each group of those within it ``[B, size]``."""
        log_p = log_softmax(logits / self.tau, dim=1).index_select(1, self.order)
        parts = log_p.split(self.sizes, dim=1)
        groups = torch.stack([part.logsumexp(1) for part in parts], dim=1)
        return groups, [log_softmax(part, dim=1) for part in parts]
