"""Which images belong to each class."""

import torch
from torch import Tensor


def members(targets: Tensor, num_classes: int) -> tuple[Tensor, ...]:
    """Return for each class the ascending indices of its images, int64 [n_c] on the CPU."""
    targets = targets.cpu()
    sizes = torch.bincount(targets, minlength=num_classes).tolist()
    return torch.argsort(targets, stable=True).split(sizes)
