"""A test split for datasets that come without one, a validation split and a third one for all."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from trg_pyg.data.splits._members import members
from trg_pyg.errors import InputError, few, require

# A split that can be evaluated on.
Evaluated = Literal["test", "validation"]
# A split that is held out: also one that methods learn of beside the training images, and the best epoch is chosen by.
Held = Literal["test", "validation", "heldout"]
# The option that asks for each, what it is for, and what else helps where a class is too small.
_OPTIONS = {"test": "holdout", "validation": "validation", "heldout": "heldout"}
_PURPOSES = {"test": "testing", "validation": "validation", "heldout": "choosing"}
_REMEDIES = {
    "test": "give the dataset a test split of its own",
    "validation": "leave the option validation out",
    "heldout": "leave the option heldout out",
}
# Held-out images of a class at the least, where it has more.
_LEAST = {"test": 1, "validation": 1, "heldout": 2}


def check_fraction(fraction: float, split: Held = "test") -> None:
    """Raise :class:`InputError` unless ``fraction`` is in (0, 1)."""
    require(
        0 < fraction < 1,
        f"{_OPTIONS[split]} {fraction:g} is not between 0 and 1; it is the share of each class for {_PURPOSES[split]}",
    )


def holdout_indices(
    targets: Tensor, classes: Sequence[str], fraction: float, seed: int, split: Held = "test", item: str = "image"
) -> Tensor:
    """Choose the images to hold out, the same share of each class.

    Args:
        targets: class of each image, int64 [N], values in [0, C).
        classes: C names, for the error message.
        fraction: share to hold out, in (0, 1); at least one image of a class is held out, two for "heldout" where it
            has three, and at least one is left.
        seed: chooses the images; torch's global generator is neither read nor advanced.
        split: what they are held out for, for the error message.
        item: what one of them is called, for the error message.

    Returns:
        Positions in ``targets``, int64 [M] on the CPU, ascending.

    Raises:
        InputError: ``fraction`` is outside (0, 1), or a class has fewer than two images.
    """
    check_fraction(fraction, split)
    groups = members(targets, len(classes))
    small = [name for name, group in zip(classes, groups, strict=True) if len(group) < 2]
    if small:
        items = f"{item}s" if split == "test" else f"training {item}s"
        raise InputError(
            f"a {split} split cannot be held out: {few(small)} ha{'s' if len(small) == 1 else 've'} fewer than two "
            f"{items}; add {item}s or {_REMEDIES[split]}"
        )
    generator = torch.Generator().manual_seed(seed)
    held = []
    for group in groups:
        count = min(max(round(fraction * len(group)), _LEAST[split]), len(group) - 1)
        held.append(group[torch.randperm(len(group), generator=generator)[:count]])
    return torch.cat(held).sort().values
