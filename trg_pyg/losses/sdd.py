"""Logit distillation of the regions of an image."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, kl_div, log_softmax

from trg_pyg.batch import check_target
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_maps
from trg_pyg.losses.dkd import decouple
from trg_pyg.tokens.normalize import full_precision


class SDDLoss(DistillationLoss):
    r"""Scale decoupled distillation (Wei et al., arXiv 2403.13512).

    .. math:: L = \frac{\tau^2}{B R} \sum_{b, r} w_{br} \, D(z^T_{br} / \tau, z^S_{br} / \tau)

    The maps are class scores at each place: a linear classifier of the mean over a region gives the mean of them, the
    logits :math:`z_{br}`. Regions are the cells of square grids of several sizes, R in all. D is the divergence of
    :class:`~trg_pyg.losses.logit.LogitKD`, or that of :class:`~trg_pyg.losses.dkd.DKDLoss`. w is 1 where the teacher is
    right about the region and the whole image, or wrong about both, and ``complementary`` where it is right about one
    of them.

    Args:
        grids: cells along a side of each grid.
        form: ``"kd"`` or ``"dkd"``.
        tau: temperature.
        complementary: weight of the regions that tell another story than the whole.
        alpha: of ``"dkd"``, weight of the target class against the rest.
        beta: of ``"dkd"``, weight of the distribution over the other classes.

    Shapes:
        - student and teacher maps ``[B, classes, H, W]``, each on a grid of its own; ``target`` ``[B]``, int64

    Raises:
        InputError: an option is impossible; a map is smaller than a grid; the two networks have different numbers of
            classes, or there is one class only; there is not one label an image.
    """

    compares: ClassVar[Literal["rows", "maps", "graphs"]] = "maps"

    def __init__(
        self,
        grids: tuple[int, ...] = (1, 2, 4),
        form: Literal["kd", "dkd"] = "kd",
        tau: float = 4.0,
        complementary: float = 2.0,
        alpha: float = 1.0,
        beta: float = 8.0,
    ) -> None:
        super().__init__()
        check_positive("tau", tau)
        check_choice("form", form, ("kd", "dkd"))
        require(len(grids) > 0 and min(grids) >= 1, f"grids={grids}: give the cells along a side of one grid or more")
        for name, weight in (("complementary", complementary), ("alpha", alpha), ("beta", beta)):
            require(weight >= 0, f"{name}={weight}: a weight is 0 (off) or positive")
        self.grids, self.form, self.tau, self.complementary = tuple(grids), form, tau, complementary
        self.alpha, self.beta = alpha, beta

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """Return the mean over images and regions, 0 where all logits are equal up to a constant a region."""
        check_maps(student, teacher)
        classes = student.shape[1]
        require(
            classes == teacher.shape[1] and classes >= 2,
            f"class scores {tuple(student.shape)} and {tuple(teacher.shape)}: give the same classes, 2 or more",
        )
        teacher = full_precision(teacher.detach())
        whole = teacher.mean((2, 3))
        check_target(target, whole)
        rows_s, rows_t = self._regions(full_precision(student)), self._regions(teacher)
        labels = target.repeat_interleave(len(rows_t) // len(target))
        right = rows_t.argmax(1) == labels
        of_whole = (whole.argmax(1) == target).repeat_interleave(len(rows_t) // len(target))
        weights = torch.where(right == of_whole, 1.0, self.complementary)
        return self.tau**2 * (weights * self._divergence(rows_s / self.tau, rows_t / self.tau, labels)).mean()

    def _regions(self, scores: Tensor) -> Tensor:
        """``[B * R, classes]``, the regions of an image one after another."""
        smallest, most = min(scores.shape[2:]), max(self.grids)
        require(
            most <= smallest,
            f"grids={self.grids} of maps {tuple(scores.shape[2:])}: there are no {most}x{most} regions; leave out what "
            "is larger than the map",
        )
        pooled = [adaptive_avg_pool2d(scores, side).flatten(2) for side in self.grids]
        return torch.cat(pooled, dim=2).transpose(1, 2).flatten(0, 1)

    def _divergence(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        if self.form == "kd":
            return _rows(log_softmax(student, dim=1), log_softmax(teacher, dim=1))
        binary_s, others_s = decouple(student, target)
        binary_t, others_t = decouple(teacher, target)
        return self.alpha * _rows(binary_s, binary_t) + self.beta * _rows(others_s, others_t)


def _rows(student: Tensor, teacher: Tensor) -> Tensor:
    return kl_div(student, teacher, reduction="none", log_target=True).sum(1)
