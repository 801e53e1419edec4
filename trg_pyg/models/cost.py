"""What a network costs: its parameters, and the operations for one image."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trg_pyg._size import shown_size, sides
from trg_pyg.errors import InputError, require
from trg_pyg.models._probe import Example, call, inputs_like, undisturbed


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: numbers that are learned, trained or frozen; shared ones count once, buffers do not.
        flops: floating-point operations of the convolutions and matrix products for one image. A multiply-add is two,
            so that this is twice the "MACs" that many papers call FLOPs. Normalisation, activations and pooling are
            left out, as is usual.
    """

    parameters: int
    flops: int


def cost(model: nn.Module, example: Example, channels: int = 3) -> Cost:
    """Count the parameters of a network, and its operations on one black image, or another item.

    Nothing of the network, its mode or the random state is changed.

    Args:
        model: takes images ``[B, channels, H, W]``, or other inputs; not compiled.
        example: side of a square image, or height and width, in pixels, >= 1; or an item of other inputs.
        channels: of the image.

    Raises:
        InputError: the network does not take an image of this size.
    """
    if isinstance(example, int | tuple):
        require(min(sides(example)) >= 1, f"image_size {example} is below 1; it is the height and width in pixels")
    inputs = inputs_like(model, example, channels, items=1)
    counter = FlopCounterMode(display=False)
    try:
        with undisturbed(model), _products_seen(), counter:
            call(model, inputs)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())
        what = f"images of {shown_size(example)}" if isinstance(example, int | tuple) else "these inputs"
        raise InputError(f"{type(model).__name__} does not take {what}: {reason}") from error
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())


@contextmanager
def _products_seen() -> Iterator[None]:
    """Let attention be computed by matrix products: the counter does not know the fused kernels of the CPU."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
