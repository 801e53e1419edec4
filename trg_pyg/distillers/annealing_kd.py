"""Annealing of the teacher's logits."""

import math
from typing import ClassVar

from torch import Tensor

from trg_pyg.distillers.base import Distiller, Labels, Taps, check_networks
from trg_pyg.errors import require
from trg_pyg.losses.base import check_logits
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision


class AnnealingKD(Distiller):
    r"""Logits of a teacher that sharpen step by step, then the labels alone (Jafari et al., arXiv 2104.07163).

    .. math:: L_I = \frac{1}{B C} \sum_{b, k} \big( z^S_{bk} - \Phi(T) \, z^T_{bk} \big)^2, \qquad
        \Phi(T) = 1 - \frac{T - 1}{\tau_{max}}, \qquad L_{II} = \mathrm{CE}(z^S, y)

    The first phase takes the share ``stage`` of the training, in equal blocks for T from :math:`\tau_{max}` down to 1;
    it sees no label. The second begins with a new optimiser and schedule, from the last weights of the first: the
    public code takes its best ones on the test images, which no training may look at.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        tau_max: number of blocks, >= 1.
        stage: share of the first phase, in (0, 1]; at 1 there is no second one. Published: 200 of 300 epochs.
        annealing: False keeps :math:`\Phi` at 1, the control without annealing.

    Raises:
        InputError: ``tau_max`` is below 1, ``stage`` is not in (0, 1], there is no teacher, or it has other classes.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True
    labels: Labels = "mixed"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        tau_max: int = 10,
        stage: float = 2 / 3,
        annealing: bool = True,
    ) -> None:
        super().__init__(student, teacher)
        check_networks(student, teacher)
        require(tau_max >= 1, f"tau_max={tau_max}: the first phase has at least 1 block")
        require(0 < stage <= 1, f"stage={stage}: it is a share of the training, above 0 and at most 1")
        self.tau_max, self.stage, self.annealing = tau_max, stage, annealing

    @property
    def restarts(self) -> tuple[float, ...]:
        """The beginning of the second phase."""
        return () if self.stage == 1 else (self.stage,)

    def phi(self, progress: float) -> float:
        r"""Return :math:`\Phi(T)` of the block that a step of the first phase is in.

        Args:
            progress: of the training, in [0, stage); the last block takes what is left over.
        """
        if not self.annealing:
            return 1.0
        block = min(math.floor(progress / self.stage * self.tau_max), self.tau_max - 1)
        return (block + 1) / self.tau_max

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the part ``annealed`` in the first phase, the part ``ce`` in the second."""
        teacher = self.need(teacher)
        self.check_batch(student, teacher, step)
        if step.progress >= self.stage and self.stage < 1:
            return {name: (1.0, value) for name, value in self.task.supervised(student, step).items()}
        check_logits(student.logits, teacher.logits)
        goal = self.phi(step.progress) * full_precision(teacher.logits.detach())
        return {"annealed": (1.0, (full_precision(student.logits) - goal).square().mean())}
