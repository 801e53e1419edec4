"""The normalisation that a network was trained with, kept beside the network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trg_pyg.errors import InputError


class Normalize(nn.Module):
    """``(images - mean) / std`` per channel, ``[B, C, H, W] -> [B, C, H, W]``, or of clips ``[B, C, T, H, W]``.

    The constants are no weights: they move with the module but are not in its state dict.

    Args:
        mean: mean of each channel, of red, green and blue most often, for images in [0, 1].
        std: standard deviation of each channel, above 0.

    Raises:
        InputError: there are no, or not as many, values, one is not finite, or a standard deviation is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != max(len(mean), 1) or not all(math.isfinite(value) for value in values):
                raise InputError(f"Normalize {name} {tuple(values)} must be finite numbers, one a channel")
        if min(std) <= 0:
            raise InputError(f"Normalize std {tuple(std)} must be above 0 in each channel")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images or clips; float ``[B, C, ..., H, W]`` in [0, 1] is expected."""
        mean, std = (each.view(-1, *[1] * (images.ndim - 2)) for each in (self.mean, self.std))
        return (images - mean).div_(std)  # in place: new memory costs more than dividing

    def extra_repr(self) -> str:
        """Show the constants in ``repr``."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
