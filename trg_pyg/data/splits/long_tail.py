"""Long-tailed subsets: exponentially fewer images from the first class to the last."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trg_pyg.data.splits._members import members
from trg_pyg.errors import InputError, require

# Groups of classes by how many training images they have, in words.
SHOTS = {"many": "more than 100", "medium": "20 to 100", "few": "fewer than 20"}


def check_imbalance(imbalance: float) -> None:
    """Raise :class:`InputError` unless ``imbalance`` is a finite number >= 1."""
    require(
        1 <= imbalance < float("inf"),
        f"imbalance {imbalance:g} is not a finite number >= 1; it is the size of the largest class over the smallest",
    )


def long_tail_counts(n_max: int, num_classes: int, imbalance: float) -> list[int]:
    r"""Return how many images each class of a long-tailed set keeps.

    .. math::
        n_i = \lfloor n_{\max} \cdot (1 / \mathrm{IF})^{i / (C - 1)} \rfloor, \quad i = 0, \dots, C - 1

    from Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", 2019. For 100 classes of
    500 images IF 10, 50, 100, 200 leave 19,573, 12,608, 10,847, 9,502 images.

    Args:
        n_max: images of the first class, >= 1.
        num_classes: C >= 1; a single class keeps ``n_max``.
        imbalance: the imbalance factor IF >= 1, largest class over smallest; 1 keeps ``n_max`` of each class.

    Returns:
        C counts, never increasing.

    Raises:
        InputError: ``imbalance`` is below 1 or not finite, or leaves a class without an image.
    """
    check_imbalance(imbalance)
    last = max(num_classes - 1, 1)
    counts = [_floor(n_max * (1 / imbalance) ** (i / last)) for i in range(num_classes)]
    if 0 in counts:
        raise InputError(
            f"imbalance {imbalance:g} leaves {counts.count(0)} of {num_classes} classes empty, the largest has "
            f"{n_max}; choose an imbalance of at most {n_max}"
        )
    return counts


def _floor(size: float) -> int:
    # 98 / 49 images are 2, though 98 * (1 / 49) is a little less in floating point.
    nearest = round(size)
    return nearest if abs(size - nearest) < 1e-9 * nearest else int(size)


def long_tail_indices(targets: Tensor, num_classes: int, imbalance: float, seed: int) -> Tensor:
    """Choose the images of a long-tailed subset, the classes in their original order.

    n_max is the size of the smallest class, so that every class can give what the profile asks of it and the factor
    comes out as asked for; on a balanced set that is the size of each class. A class keeps a prefix of its own seeded
    order, so for one seed the subset of a larger factor lies within the subset of a smaller one.

    Args:
        targets: class of each image, int64 [N], values in [0, C).
        num_classes: C.
        imbalance: the imbalance factor >= 1.
        seed: chooses the images; torch's global generator is neither read nor advanced.

    Returns:
        Positions in ``targets``, int64 [M] on the CPU, ascending.

    Raises:
        InputError: as :func:`long_tail_counts`.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = members(targets, num_classes)
    counts = long_tail_counts(min(map(len, groups)), num_classes, imbalance)
    kept = [
        group[torch.randperm(len(group), generator=generator)[:count]]
        for group, count in zip(groups, counts, strict=True)
    ]
    return torch.cat(kept).sort().values


def shots(class_counts: Sequence[int]) -> dict[str, list[int]]:
    """Sort the classes by how many training images they have.

    Args:
        class_counts: training images of each class.

    Returns:
        Class ids, ascending: ``"many"`` (> 100 images), ``"medium"`` (20 to 100) and ``"few"`` (< 20).
    """
    groups: dict[str, list[int]] = {name: [] for name in SHOTS}
    for label, count in enumerate(class_counts):
        groups["many" if count > 100 else "medium" if count >= 20 else "few"].append(label)
    return groups
