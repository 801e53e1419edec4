"""Classes, which images belong to each, and in which folders they are."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from trg_pyg.errors import InputError, few, require


def members(targets: Tensor, num_classes: int) -> tuple[Tensor, ...]:
    """Return for each class the ascending indices of its images, int64 [n_c] on the CPU."""
    targets = targets.cpu()
    sizes = torch.bincount(targets, minlength=num_classes).tolist()
    return torch.argsort(targets, stable=True).split(sizes)


def check_classes(classes: Sequence[str], place: object, item: str = "image") -> None:
    """Raise :class:`InputError` unless there are two classes or more."""
    require(
        len(classes) > 1,
        f"{place}: one class, {few(classes)}, of which every network is right about all {item}s; give {item}s of "
        "two classes or more, each in a folder of its own or with a label of its own",
    )


def split_folders(root: Path, item: str) -> tuple[str, str | None]:
    """Return the folders of the training and the test split relative to ``root``; no test folder: hold one out."""
    require(root.is_dir(), f"{item} folder {root} is not a folder; give the one that holds train/ or the classes")
    test = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    train = root / "train"
    if train.is_dir():
        if test is None:
            raise InputError(
                f"{root} has train but neither test nor val; add one, or give {train} to hold a test split out"
            )
        return "train", test
    if test is not None:
        raise InputError(f"{root} has {test} but no train; add the training {item}s as {train}/<class>/*")
    return "", None


def check_same_classes(train: tuple[str, ...], test: tuple[str, ...], train_folder: Path, test_folder: Path) -> None:
    """Raise :class:`InputError` unless two folders have the same classes."""
    missing = sorted(set(train) - set(test))
    extra = sorted(set(test) - set(train))
    if missing or extra:
        parts = [f"{test_folder} lacks {few(missing)}"] if missing else []
        parts += [f"{train_folder} lacks {few(extra)}"] if extra else []
        raise InputError(f"the splits have different classes: {' and '.join(parts)}; give both the same class folders")
