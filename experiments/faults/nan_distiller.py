"""Methods of which single steps are spoiled by one image whose numbers are not finite."""

import math
import os
import signal
from typing import Any, Literal

import torch
from torch import Tensor

from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.distillers.crd import CRD
from trg_pyg.distillers.trg import TRG
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step

Where = Literal["output", "gradient"]


class Poison:
    """Spoils the first image of some steps, and asks for a stop in another one.

    Args:
        steps: calls in training mode, from 0, of which the first image is spoiled.
        where: in the student's outputs for it, or in the gradient of its logits alone, with a loss that is finite.
        stop_in: call in which the process is asked to stop, by SIGTERM, as it then does after that step; None: never.
    """

    def __init__(self, steps: list[int], where: Where, stop_in: int | None) -> None:
        self._steps, self._where, self._stop_in = frozenset(steps), where, stop_in
        self._calls = 0

    def __call__(self, student: Outputs) -> Outputs:
        """Return the outputs of the student in a step, spoiled where that is due."""
        number, self._calls = self._calls, self._calls + 1
        if number == self._stop_in:
            os.kill(os.getpid(), signal.SIGTERM)
        if number not in self._steps:
            return student
        if self._where == "gradient":
            student.logits.register_hook(_spoiled)
            return student
        embedding = None if student.embedding is None else _spoiled(student.embedding)
        return Outputs(_spoiled(student.logits), tuple(_spoiled(each) for each in student.features), embedding)


def _spoiled(batch: Tensor) -> Tensor:
    """Return a copy of ``[B, ...]`` whose first row is NaN."""
    first = torch.arange(len(batch), device=batch.device) == 0
    return batch.masked_fill(first.view(-1, *[1] * (batch.dim() - 1)), math.nan)


class _Poisoned(Distiller):
    """A method with some steps spoiled: the class beside this one.

    Args:
        student: as the method's.
        teacher: as the method's.
        steps: see :class:`Poison`.
        where: see :class:`Poison`.
        stop_in: see :class:`Poison`.
        **options: of the method.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        steps: list[int],
        where: Where = "output",
        stop_in: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(student, teacher, **options)
        self._poison = Poison(steps, where, stop_in)

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        """Return the losses, not finite in a step that is spoiled."""
        losses: Losses = super().forward(self._poison(student), teacher, step)
        return losses


class PoisonedTRG(_Poisoned, TRG):
    """TRG with some steps spoiled."""


class PoisonedCRD(_Poisoned, CRD):
    """CRD with some steps spoiled."""
