"""What a loss may know of a training step beside the outputs of the two networks."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One training step on a batch of B images.

    Attributes:
        target: class labels ``[B]``, int64.
        progress: position in the training, from 0 (first step) to 1 (end).
        generator: CPU generator for every random draw that a loss makes; the global generator is never used.
        index: position of each image in the training set, ``[B]``, int64; only memory banks need it.
    """

    target: Tensor
    progress: float
    generator: torch.Generator
    index: Tensor | None = None
