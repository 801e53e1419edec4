"""Which view of which image is which: numbers by which what was computed of one is found again."""

import numpy as np
import torch
from torch import Tensor


def chosen(places: Tensor | None, index: Tensor) -> Tensor:
    """Return where a part of a set is in the whole data set.

    Args:
        places: of the set, int64 [N] on the CPU; None for a whole data set.
        index: of the part, int64 [M] positions or bool [N].

    Returns:
        int64 [M] on the CPU.
    """
    index = index.cpu()
    index = index.nonzero().flatten() if index.dtype == torch.bool else index
    return index if places is None else places[index]


def seeds_of(slots: Tensor, stream: int) -> Tensor:
    """Return random numbers that depend on nothing but a slot and a stream.

    They are those of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014), the
    streams of a slot one after another.

    Args:
        slots: int64 [B], each at least 0.
        stream: 0 to 7; each use has its own.

    Returns:
        int64 [B], in [0, 2**62), on the CPU.
    """
    with np.errstate(over="ignore"):
        x = (slots.numpy().astype(np.uint64) * 8 + np.uint64(stream + 1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return torch.from_numpy((x >> np.uint64(2)).astype(np.int64))
