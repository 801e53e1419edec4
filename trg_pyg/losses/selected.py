"""Logit distillation on the rows of which the teacher knows the answer."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from trg_pyg.batch import check_target
from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.tokens.normalize import full_precision


class SelectedKL(DistillationLoss):
    r"""Logit distillation of rows that are chosen by the teacher (Xu et al., arXiv 2006.07114).

    .. math:: L = \tau^2 \, \frac{1}{|S|} \sum_{b \in S}
        \mathrm{KL}\big(\mathrm{softmax}(z^T_b / \tau) \,\Vert\, \mathrm{softmax}(z^S_b / \tau)\big)

    S are all rows that the teacher answers right, and of the others those where the right answer has the best ranks, in
    their order.

    Args:
        tau: temperature.
        share: of the rows that the teacher answers wrong, rounded down, in [0, 1].

    Shapes:
        - student and teacher logits ``[B, classes]``, ``target`` ``[B]``, int64

    Raises:
        InputError: tau is not positive, ``share`` is not in [0, 1], the two networks have different numbers of classes,
            or there is not one answer a row.
    """

    def __init__(self, tau: float = 4.0, share: float = 1.0) -> None:
        super().__init__()
        check_positive("tau", tau)
        require(0 <= share <= 1, f"share={share}: it is a share of the rows, from 0 to 1")
        self.tau, self.share = tau, share

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the chosen rows, 0 where there are none."""
        check_logits(student, teacher)
        check_target(target, student)
        teacher = full_precision(teacher.detach())
        log_s = log_softmax(full_precision(student) / self.tau, dim=1)
        log_t = log_softmax(teacher / self.tau, dim=1)
        rows = kl_div(log_s, log_t, reduction="none", log_target=True).sum(1)
        chosen = self.chosen(teacher, target)
        return self.tau**2 * (rows * chosen).sum() / chosen.sum().clamp(min=1)

    def chosen(self, teacher: Tensor, target: Tensor) -> Tensor:
        """Return which rows count, bool ``[B]``; nothing here waits for the device."""
        order = teacher.argsort(dim=1, descending=True, stable=True)
        rank = (order == target.unsqueeze(1)).int().argmax(1)
        place = rank.argsort(stable=True).argsort()
        right = (rank == 0).sum()
        return place < right + torch.floor(self.share * (len(rank) - right))
