"""The operation that gives both ShuffleNets their name."""

from torch import Tensor


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` groups, ``[B, C, H, W] -> [B, C, H, W]``: first of each, second of each."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
