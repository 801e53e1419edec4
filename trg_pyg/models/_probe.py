"""Looking at a network by running it once, without leaving a trace on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trg_pyg.errors import InputError

PROBE_BATCH = 2


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode of every module and the random state are restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    place = device_of(model)
    try:
        model.eval()  # normalisation layers neither read nor change batch statistics
        with torch.no_grad(), torch.random.fork_rng([place] if place.type == "cuda" else []):
            yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter, the CPU for a network without parameters."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def first_tensor(output: Any) -> Tensor | None:
    """Return a tensor itself, the first item of a tuple or list if that is a tensor, otherwise ``None``."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def auto_tap(model: nn.Module, run: Callable[[], Any], prefix_tokens: int, channels_last: bool) -> str:
    """Return the path of the last module to finish whose output has a spatial grid larger than 1x1.

    Args:
        model: the network, itself not a candidate.
        run: calls the network on :data:`PROBE_BATCH` images.
        prefix_tokens: tokens at the head of a sequence that are not part of its grid.
        channels_last: a map is ``[B, H, W, C]`` rather than ``[B, C, H, W]``.

    Raises:
        InputError: no module has such an output.
    """
    last = ""

    def watch(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal last
            feature = first_tensor(output)
            if feature is not None and _has_grid(feature, prefix_tokens, channels_last):
                last = path

        return hook

    handles = [module.register_forward_hook(watch(path)) for path, module in model.named_modules() if path]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    if not last:
        raise InputError(
            f"no module of {type(model).__name__} gives a map or a sequence larger than 1x1; name the taps"
        )
    return last


def _has_grid(feature: Tensor, prefix_tokens: int, channels_last: bool) -> bool:
    shape = feature.shape
    if feature.ndim not in (3, 4) or shape[0] != PROBE_BATCH:
        return False
    if feature.ndim == 3:
        return shape[1] - prefix_tokens > 1
    height, width = shape[1:3] if channels_last else shape[2:4]
    return height * width > 1
