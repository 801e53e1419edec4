"""What a loss may know of a training step beside the outputs of the two networks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trg_pyg.errors import require


@dataclass(frozen=True)
class Step:
    """One training step on a batch of B images.

    Attributes:
        target: class labels ``[B]``, int64.
        progress: position in the training, from 0 (first step) to 1 (end).
        generator: CPU generator for every random draw that a loss makes; the global generator is never used.
        index: position of each image in the training set, ``[B]``, int64; only memory banks need it.

    Raises:
        InputError: there is not one label or one position an image, or the progress is not in [0, 1].
    """

    target: Tensor
    progress: float
    generator: torch.Generator
    index: Tensor | None = None

    def __post_init__(self) -> None:
        require(
            self.target.dim() == 1 and self.target.dtype == torch.int64,
            f"target {tuple(self.target.shape)} of type {self.target.dtype}: give one label an image, int64 [B]",
        )
        require(
            self.index is None or (self.index.shape == self.target.shape and self.index.dtype == torch.int64),
            f"index {None if self.index is None else tuple(self.index.shape)} for target {tuple(self.target.shape)}: "
            "give the position of each image in the training set, int64 [B]",
        )
        require(0 <= self.progress <= 1, f"progress={self.progress}: it is a share of the training, from 0 to 1")
