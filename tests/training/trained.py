"""What a training leaves, and what breaks one off."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Stop(Exception):
    """Stands for whatever ends a run: a time limit, a crash, a person."""


def stop_at(calls: int) -> Callable[[Any], None]:
    """For ``on_step`` or ``on_epoch``: raises Stop in this call."""
    left = [calls]

    def stop(at: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    return stop


def without_clock(history: list[dict[str, float]]) -> list[dict[str, float]]:
    clock = ("seconds", "images_per_second", "ms_per_step")
    return [{name: value for name, value in epoch.items() if name not in clock} for epoch in history]


def all_weights(student: nn.Module, distiller: nn.Module) -> dict[str, Tensor]:
    """Of both, as they are now."""
    modules = {"": student, "d.": distiller}
    return {f"{of}{name}": v.clone() for of, module in modules.items() for name, v in module.state_dict().items()}
