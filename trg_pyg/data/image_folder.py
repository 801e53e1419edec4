"""A folder of image files, one sub-folder a class."""

import os
import warnings
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trg_pyg._size import Size
from trg_pyg.data.files.image_files import ImageFiles, Listing
from trg_pyg.data.splits._members import check_same_classes, split_folders
from trg_pyg.data.splits.holdout import holdout_indices
from trg_pyg.errors import InputError, few

# How files that are taken for images end, in small letters.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


class ImageFolder(ImageFiles):
    """Images of your own, or ImageNet.

    Two layouts, told apart by a folder ``train`` under ``root``::

        root/train/<class>/*.png    root/test/<class>/*.png    # root/val is the test split if there is no root/test
        root/<class>/*.png                                     # a test split is held out of each class

    Classes are numbered by their sorted folder names. Hidden files are passed over, and, with a warning, what else is
    not named like an image (png, jpg, jpeg, bmp, gif, webp, tif, tiff, ppm, pgm). Images become RGB and are turned
    upright by their EXIF data; they are resized (antialiased) to cover ``size``, and the
    centre is cut out.

    Args:
        root: the folder.
        size: side of square images, in pixels, >= 1, or ``[height, width]``; None takes what a pretrained network of
            the study expects, else 32.
        holdout: share of each class held out for testing in the second layout, in (0, 1); ``subset_seed`` chooses, and
            ``validation`` is a share of the images that are left.
        **kwargs: the options of :class:`ImageFiles`.

    Raises:
        InputError: an option is out of range, or two of them contradict each other.
    """

    def __init__(self, root: str, size: Size | None = None, holdout: float = 0.2, **kwargs: Any) -> None:
        super().__init__(root, 32 if size is None else size, **kwargs)
        self.holdout = holdout

    def _list(self) -> Listing:
        train_folder, test_folder = split_folders(self.root, "image")
        train_files = _class_files(self.root, train_folder)
        train_targets = _targets(train_files)
        classes = tuple(train_files)
        if test_folder is None:
            return Listing(_flat(train_files), train_targets, None, classes)

        test_files = _class_files(self.root, test_folder)
        check_same_classes(classes, tuple(test_files), self.root / train_folder, self.root / test_folder)
        targets = torch.cat([train_targets, _targets(test_files)])
        tested = torch.arange(len(targets)) >= len(train_targets)
        return Listing(_flat(train_files) + _flat(test_files), targets, tested, classes)

    def _hold_out(self, listing: Listing) -> Tensor:
        held = torch.zeros(len(listing.targets), dtype=torch.bool)
        held[holdout_indices(listing.targets, listing.classes, self.holdout, self.subset_seed)] = True
        return held


def _class_files(root: Path, split: str) -> dict[str, list[str]]:
    """Return the sorted image files of each class, relative to ``root``; the classes are sorted by name."""
    folder = root / split
    shown = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    classes = sorted(entry.name for entry in shown if entry.is_dir())
    files: dict[str, list[str]] = {}
    passed_over: Counter[str] = Counter()
    for name in classes:
        images, others = _entries(folder / name)
        files[name] = [os.path.join(split, name, image) for image in images]
        passed_over.update(others)
    passed_over["images beside the class folders"] = sum(_is_image(entry.name) for entry in shown if entry.is_file())
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(passed_over.items()) if count)
    kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    if not any(files.values()):
        there = f" (but {told})" if told else ""
        raise InputError(f"no images under {folder}{there}; put them into {folder}/<class>/ as {kinds}")
    empty = [name for name in classes if not files[name]]
    if empty:
        raise InputError(f"no image for class {few(empty)} in {folder}; add some or remove the folder")
    if told:
        warnings.warn(f"passed over under {folder}: {told}; images are <class>/<name> as {kinds}", stacklevel=2)
    return files


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of the images of a class, and the kinds of its other entries, none of them hidden."""
    # Images are not asked whether they are files: a dangling link is one that has to be reported as unreadable.
    shown = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    others = [entry for entry in shown if not _is_image(entry.name)]
    kinds = ["folders" if entry.is_dir() else os.path.splitext(entry.name)[1] or "without ending" for entry in others]
    return sorted(entry.name for entry in shown if _is_image(entry.name)), kinds


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _targets(files: dict[str, list[str]]) -> Tensor:
    sizes = torch.tensor([len(group) for group in files.values()])
    return torch.arange(len(files)).repeat_interleave(sizes)


def _flat(files: dict[str, list[str]]) -> list[str]:
    return list(chain.from_iterable(files.values()))
