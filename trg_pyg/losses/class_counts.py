"""How many training images each class has."""

import torch
from torch import Tensor

from trg_pyg.errors import require


def class_counts(targets: Tensor, classes: int, *, empty: bool = False) -> Tensor:
    """Return how many images of each class there are, float64 ``[classes]``.

    Args:
        targets: class of every training image, ``[N]``, int64.
        classes: number of classes.
        empty: allow classes without an image.

    Raises:
        InputError: a label is no class, or a class has no image.
    """
    require(
        targets.dim() == 1 and targets.dtype == torch.int64 and len(targets) > 0,
        f"labels {tuple(targets.shape)} of type {targets.dtype}: give the class of each training image, int64 [N]",
    )
    counts = torch.bincount(targets, minlength=classes)
    require(len(counts) == classes, f"class {len(counts) - 1} of a training image: there are {classes} classes")
    missing = [] if empty else (counts == 0).nonzero().flatten().tolist()
    require(
        not missing,
        f"class {missing[0] if missing else ''} has no training image, and what it weighs is not known; "
        "leave the class out, or choose a method that does not count",
    )
    return counts.double()
