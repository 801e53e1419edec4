"""Temperature that changes over training."""

import math
from typing import Literal

from trg_pyg.errors import check_choice, check_positive

Curve = Literal["cosine", "linear", "constant"]


class TemperatureSchedule:
    """High first, to learn coarse topology, then lower, for hard negatives (TRG, arXiv 2306.12442; the curve is ours).

    Args:
        start: temperature at the first step.
        end: temperature at the end of training.
        curve: ``"cosine"``, ``"linear"``, or ``"constant"`` (stays at ``start``).

    Raises:
        InputError: a temperature is not positive, or there is no such curve.
    """

    def __init__(self, start: float = 0.5, end: float = 0.07, curve: Curve = "cosine") -> None:
        check_positive("tau_start", start)
        check_positive("tau_end", end)
        check_choice("tau_curve", curve, ("cosine", "linear", "constant"))
        self.start, self.end, self.curve = start, end, curve

    def __call__(self, progress: float) -> float:
        """Return the temperature at ``progress`` in [0, 1]."""
        if self.curve == "constant":
            return self.start
        done = (1 - math.cos(math.pi * progress)) / 2 if self.curve == "cosine" else progress
        return self.start + (self.end - self.start) * done
