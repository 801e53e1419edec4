"""Classes, and which images belong to each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trg_pyg.errors import few, require


def members(targets: Tensor, num_classes: int) -> tuple[Tensor, ...]:
    """Return for each class the ascending indices of its images, int64 [n_c] on the CPU."""
    targets = targets.cpu()
    sizes = torch.bincount(targets, minlength=num_classes).tolist()
    return torch.argsort(targets, stable=True).split(sizes)


def check_classes(classes: Sequence[str], place: object) -> None:
    """Raise :class:`InputError` unless there are two classes or more."""
    require(
        len(classes) > 1,
        f"{place}: one class, {few(classes)}, of which every network is right about all images; give images of two "
        "classes or more, each in a folder of its own or with a label of its own",
    )
