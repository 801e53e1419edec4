"""Robustness to images that are changed on purpose."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from trg_pyg.distillers.base import Distiller, Taps, check_networks
from trg_pyg.errors import require
from trg_pyg.models.attack import check_attack, pgd
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step


class AdversarialTraining(Distiller):
    """Cross-entropy on images that are changed so that the student errs (Madry et al., arXiv 1706.06083); no teacher.

    The attack is :func:`~trg_pyg.models.attack.pgd` on the student as it is in each step, in evaluation mode. It costs
    ``steps`` passes forward and back beside the one of the training.

    Args:
        student: the student's classes.
        teacher: not used.
        eps: largest change of a pixel, as a share of its range.
        step: of the attack, in the same unit.
        steps: of the attack.
        smoothing: share of the labels that is given evenly to all classes, in [0, 1).

    Raises:
        InputError: ``eps`` or ``step`` is not in (0, 1], ``steps`` is below 1, or ``smoothing`` is not in [0, 1).
    """

    needs_teacher: ClassVar[bool] = False
    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        eps: float = 8 / 255,
        step: float = 2 / 255,
        steps: int = 10,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(student, teacher)
        check_attack(eps, step, steps)
        require(0 <= smoothing < 1, f"smoothing={smoothing}: it is a share of the labels, from 0 to below 1")
        self.eps, self.step, self.steps, self.smoothing = eps, step, steps, smoothing

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the images under attack, float ``[B, 3, H, W]`` in [0, 1]."""
        return [_attacked(self, images, step)]

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the cross-entropy under attack as part ``ce``."""
        self.check_batch(student, None, step)
        return {"ce": (1.0, cross_entropy(student.logits.float(), step.target, label_smoothing=self.smoothing))}


class AdversarialKD(Distiller):
    r"""A teacher's answers to images that are changed so that the student errs (Maroto et al., arXiv 2203.07159).

    .. math:: L = -\frac{1}{B} \sum_b \sum_k q_{bk} \log p^S(\tilde x_b)_k, \qquad
        q_b = \alpha \, p^T(\tilde x_b) + (1 - \alpha) \, \mathrm{onehot}(y_b)

    The teacher sees the same images, which :func:`~trg_pyg.models.attack.pgd` makes of the student as it is in each
    step, in evaluation mode. It should be robust itself: train it by :class:`AdversarialTraining`. The sizes of the
    attack are the usual ones for colour images; ``alpha`` is ours.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        alpha: share of the teacher in the labels, in [0, 1].
        eps: largest change of a pixel, as a share of its range.
        step: of the attack, in the same unit.
        steps: of the attack.

    Raises:
        InputError: ``alpha`` is not in [0, 1], ``eps`` or ``step`` is not in (0, 1], ``steps`` is below 1, there is no
            teacher, or it has other classes.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        alpha: float = 0.5,
        eps: float = 8 / 255,
        step: float = 2 / 255,
        steps: int = 10,
    ) -> None:
        super().__init__(student, teacher)
        check_networks(student, teacher)
        require(0 <= alpha <= 1, f"alpha={alpha}: it is a share of the labels, from 0 to 1")
        check_attack(eps, step, steps)
        self.alpha, self.eps, self.step, self.steps = alpha, eps, step, steps

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the images under attack, float ``[B, 3, H, W]`` in [0, 1]."""
        return [_attacked(self, images, step)]

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the cross-entropy with the mixed labels under attack as part ``ce``."""
        teacher = self.need(teacher)
        self.check_batch(student, teacher, step)
        logits = student.logits.float()
        labels = torch.zeros_like(logits).scatter_(1, step.target.unsqueeze(1), 1.0)
        mixed = torch.lerp(labels, softmax(teacher.logits.detach().float(), dim=1), self.alpha)
        return {"ce": (1.0, cross_entropy(logits, mixed))}


def _attacked(method: AdversarialTraining | AdversarialKD, images: Tensor, step: Step) -> Tensor:
    with step.need_networks(type(method).__name__).attacked() as network:
        return pgd(
            network,
            images,
            step.target,
            eps=method.eps,
            step=method.step,
            steps=method.steps,
            start=2 * step.noise(images.shape[1:]) - 1,
        )
