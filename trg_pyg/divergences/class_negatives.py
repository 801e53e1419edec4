"""Negatives of other classes."""

from typing import Literal

import torch
from torch import Tensor, nn

from trg_pyg._transfer import to_device
from trg_pyg.errors import require

_AUTO = 16384


class ClassNegatives(nn.Module):
    """Draws, for each anchor of a batch, K training images of other classes.

    Each anchor's K are uniform without replacement, as in RepDistiller. Ours: one random permutation of the training
    set is drawn a step and each anchor takes the first K of it that are of another class, so that draws of a step's
    anchors are correlated. In return the negatives of a batch are one ``[P, d]`` pool and a mask instead of
    ``[B, K, d]`` vectors, and their scores one matrix product.

    Args:
        targets: labels of the training set ``[N]``, int64.
        negatives: K. ``"auto"`` is 16384 (RepDistiller's), or the number of images that are not of the largest class
            where that is smaller.

    Attributes:
        negatives: K.
        pool: P, the least length of a permutation that holds K images of other classes whatever the class: K and the
            size of the largest class, or N.

    Raises:
        InputError: there are no labels, all are of one class, or a class has fewer than K others.
    """

    targets: Tensor

    def __init__(self, targets: Tensor, negatives: int | Literal["auto"] = "auto") -> None:
        super().__init__()
        require(
            targets.dim() == 1 and len(targets) > 0 and targets.dtype == torch.int64,
            f"targets {tuple(targets.shape)} of type {targets.dtype}: give the label of each image of the training "
            "set, int64 [N]",
        )
        require(int(targets.min()) >= 0, f"label {int(targets.min())} in the training set: labels count from 0")
        items, counts = len(targets), targets.bincount()
        largest, label = int(counts.max()), int(counts.argmax())
        others = items - largest
        require(others > 0, f"the training set has images of class {label} only: negatives need a second class in it")
        self.check(negatives)
        if isinstance(negatives, str):
            self.negatives = min(_AUTO, others)
        else:
            require(
                negatives <= others,
                f"negatives={negatives}: the training set has only {others:,} images of other classes than class "
                f"{label}; choose at most {others}, or auto",
            )
            self.negatives = negatives
        self.pool = min(items, self.negatives + largest)
        # The training set has the labels, so a checkpoint need not.
        self.register_buffer("targets", targets.clone(), persistent=False)

    @staticmethod
    def check(negatives: int | str) -> None:
        """Raise :class:`~trg_pyg.errors.InputError` for a K that no training set has."""
        if isinstance(negatives, str):
            require(negatives == "auto", f"negatives={negatives}: choose a number or auto")
        else:
            require(negatives >= 1, f"negatives={negatives}: choose at least 1, or auto")

    def forward(self, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw negatives for anchors with labels ``target`` ``[B]``.

        Args:
            target: the labels.
            generator: CPU generator of the draw.

        Returns:
            Positions in the training set ``[P]``, all different, and which of them are an anchor's negatives
            ``[B, P]``, bool, K in each row.
        """
        device = self.targets.device
        pool = torch.randperm(len(self.targets), generator=generator)[: self.pool]
        pool = to_device(pool, device)
        other = self.targets[pool] != target.unsqueeze(1)
        return pool, other & (other.cumsum(1, dtype=torch.int32) <= self.negatives)
