"""A folder of image files, one sub-folder a class."""

import hashlib
import os
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trg_pyg.data._decode import decode_images
from trg_pyg.data._memory import available_memory
from trg_pyg.data._tensor_cache import read_cached, write_cached
from trg_pyg.data.base import ImageData, ImageSet
from trg_pyg.data.holdout import holdout_indices
from trg_pyg.errors import InputError, few, require

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_GIB = 1024**3


class ImageFolder(ImageData):
    """Images of your own, decoded once into memory.

    Two layouts, told apart by a folder ``train`` under ``root``::

        root/train/<class>/*.png    root/test/<class>/*.png    # root/val is the test split if there is no root/test
        root/<class>/*.png                                     # a test split is held out of each class

    Classes are numbered by their sorted folder names. Hidden files, and files that are not named like an image (png,
    jpg, jpeg, bmp, gif, webp, tif, tiff, ppm, pgm), are passed over. Images become RGB; the shorter side is resized to
    ``size`` (bilinear, antialiased) and the centre is cut out.

    Args:
        root: the folder.
        size: height and width of the images in memory, in pixels, >= 1.
        holdout: share of each class held out for testing in the second layout, in (0, 1); ``subset_seed`` chooses.
        cache: keep the decoded images in ``root/.trg_pyg_cache``, or in the user's cache folder where ``root`` cannot
            be written; the next start takes them from there while no file has changed its name, size or time.
        mean: mean of each channel in [0, 1]; None computes mean and std from the training images.
        std: standard deviation of each channel on the same scale, > 0; given together with ``mean``.
        **kwargs: the options of :class:`ImageData`.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        root: str,
        size: int = 32,
        holdout: float = 0.2,
        cache: bool = True,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(size >= 1, f"size {size} is below 1; it is the height and width of the images in pixels")
        require((mean is None) == (std is None), f"mean {mean} and std {std} belong together; give both or neither")
        require(
            mean is None or all(0 <= value <= 1 for value in mean),
            f"mean {mean} is outside [0, 1]; divide values for pixels of 0..255 by 255",
        )
        require(
            std is None or all(0 < value <= 1 for value in std),
            f"std {std} is outside (0, 1]; divide values for pixels of 0..255 by 255",
        )
        self.root = Path(root).expanduser()
        self.size = size
        self.holdout = holdout
        self.cache = cache
        self.mean = mean
        self.std = std

    def _read(self) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
        train_folder, test_folder = _split_folders(self.root)
        train_files = _class_files(self.root, train_folder)
        train_targets = _targets(train_files)
        classes = tuple(train_files)
        if test_folder is None:
            held = torch.zeros(len(train_targets), dtype=torch.bool)
            held[holdout_indices(train_targets, classes, self.holdout, self.subset_seed)] = True
            images = ImageSet(self._images(_flat(train_files)), train_targets)
            return images.select(~held), images.select(held), classes

        test_files = _class_files(self.root, test_folder)
        _check_same_classes(classes, tuple(test_files), self.root / train_folder, self.root / test_folder)
        pixels = self._images(_flat(train_files) + _flat(test_files))
        count = len(train_targets)
        return ImageSet(pixels[:count], train_targets), ImageSet(pixels[count:], _targets(test_files)), classes

    def _images(self, files: list[str]) -> Tensor:
        if not self.cache:
            return self._decoded(files)
        folders = _cache_folders(self.root)
        name = _cache_name(self.root, files, self.size)
        images = read_cached(folders, name, (len(files), 3, self.size, self.size))
        if images is None:
            images = self._decoded(files)
            write_cached(folders, name, images)
        return images

    def _decoded(self, files: list[str]) -> Tensor:
        # Twice: making the splits holds the whole set and its parts at the same time.
        needed = 2 * len(files) * 3 * self.size**2
        available = available_memory()
        if available is not None and needed > available:
            raise InputError(
                f"{len(files)} images of {self.size}x{self.size} under {self.root} need {needed / _GIB:.2f} GiB of "
                f"memory and {available / _GIB:.2f} GiB are available; choose a smaller size or fewer images"
            )
        return decode_images(self.root, files, self.size)


def _split_folders(root: Path) -> tuple[str, str | None]:
    """Return the folders of the training and the test split relative to ``root``; no test folder: hold one out."""
    require(root.is_dir(), f"image folder {root} is not a folder; give the one that holds train/ or the classes")
    test = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    train = root / "train"
    if train.is_dir():
        if test is None:
            raise InputError(
                f"{root} has train but neither test nor val; add one, or give {train} to hold a test split out"
            )
        return "train", test
    if test is not None:
        raise InputError(f"{root} has {test} but no train; add the training images as {train}/<class>/*")
    return "", None


def _class_files(root: Path, split: str) -> dict[str, list[str]]:
    """Return the sorted image files of each class, relative to ``root``; the classes are sorted by name."""
    folder = root / split
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    files = {name: _image_files(root, os.path.join(split, name)) for name in classes}
    if not any(files.values()):
        kinds = ", ".join(sorted(suffix[1:] for suffix in _SUFFIXES))
        raise InputError(f"no images under {folder}; put them into {folder}/<class>/ as {kinds}")
    empty = [name for name in classes if not files[name]]
    if empty:
        raise InputError(f"no image for class {few(empty)} in {folder}; add some or remove the folder")
    return files


def _image_files(root: Path, folder: str) -> list[str]:
    # Entries are not asked whether they are files: a dangling link is an image that has to be reported as unreadable.
    names = sorted(name for name in os.listdir(root / folder) if not name.startswith("."))
    return [os.path.join(folder, name) for name in names if os.path.splitext(name)[1].lower() in _SUFFIXES]


def _targets(files: dict[str, list[str]]) -> Tensor:
    sizes = torch.tensor([len(group) for group in files.values()])
    return torch.arange(len(files)).repeat_interleave(sizes)


def _flat(files: dict[str, list[str]]) -> list[str]:
    return list(chain.from_iterable(files.values()))


def _check_same_classes(train: tuple[str, ...], test: tuple[str, ...], train_folder: Path, test_folder: Path) -> None:
    missing = sorted(set(train) - set(test))
    extra = sorted(set(test) - set(train))
    if missing or extra:
        parts = [f"{test_folder} lacks {few(missing)}"] if missing else []
        parts += [f"{train_folder} lacks {few(extra)}"] if extra else []
        raise InputError(f"the splits have different classes: {' and '.join(parts)}; give both the same class folders")


def _cache_folders(root: Path) -> list[Path]:
    folders = [root / ".trg_pyg_cache"]
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if user.is_absolute():  # "~" stays as it is for a user without a home
        # Roots that share the user's folder are kept apart: names, sizes and times of two of them may agree.
        folders.append(user / "trg_pyg" / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16])
    return folders


def _cache_name(root: Path, files: list[str], size: int) -> str:
    digest = hashlib.sha256(f"size {size}\n".encode())
    for file in files:
        try:
            status = os.stat(os.path.join(root, file))
            version = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            version = "unreadable"
        digest.update(os.fsencode(file) + f"\0{version}\n".encode())
    return f"{digest.hexdigest()[:32]}.safetensors"
