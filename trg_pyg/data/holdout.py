"""A test split for datasets that come without one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trg_pyg.data._members import members
from trg_pyg.errors import InputError, few, require


def holdout_indices(targets: Tensor, classes: Sequence[str], fraction: float, seed: int) -> Tensor:
    """Choose the images to hold out for testing, the same share of each class.

    Args:
        targets: class of each image, int64 [N], values in [0, C).
        classes: C names, for the error message.
        fraction: share to hold out, in (0, 1); at least one image of a class is held out and at least one is left.
        seed: chooses the images; torch's global generator is neither read nor advanced.

    Returns:
        Positions in ``targets``, int64 [M] on the CPU, ascending.

    Raises:
        InputError: ``fraction`` is outside (0, 1), or a class has fewer than two images.
    """
    require(0 < fraction < 1, f"holdout {fraction:g} is not between 0 and 1; it is the share of each class for testing")
    groups = members(targets, len(classes))
    small = [name for name, group in zip(classes, groups, strict=True) if len(group) < 2]
    if small:
        raise InputError(
            f"a test split cannot be held out: {few(small)} ha{'s' if len(small) == 1 else 've'} fewer than two images;"
            " add images or give the dataset a test split of its own"
        )
    generator = torch.Generator().manual_seed(seed)
    held = []
    for group in groups:
        count = min(max(round(fraction * len(group)), 1), len(group) - 1)
        held.append(group[torch.randperm(len(group), generator=generator)[:count]])
    return torch.cat(held).sort().values
