"""Folders of images with label maps beside them."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trg_pyg._size import Size, shown_size, sides
from trg_pyg.data.files._decode import read_rgb
from trg_pyg.data.image_folder import IMAGE_SUFFIXES
from trg_pyg.data.instances.instance_data import InstanceData, InstanceSet
from trg_pyg.data.splits.holdout import check_fraction, holdout_indices
from trg_pyg.errors import InputError, few, require

# Pillow's names of pixels that are one whole number each.
_WHOLE_NUMBERS = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


class LabelMaps(InstanceData):
    """Images of your own and the instances in them, such as cells, nuclei or leaves.

    Two layouts, told apart by a folder ``train`` under ``root``::

        root/train/images/*  root/train/labels/*    root/test/images/*  root/test/labels/*
        root/images/*        root/labels/*                      # whole images are held out for testing

    A label map has the name of its image, but for the ending, and its size. It is a PNG or TIFF of one whole number a
    pixel, of 8, 16 or 32 bits: 0 is background, every other number one instance, and nothing is said by their order.
    Images become RGB. Both are cut into tiles; where they are no multiple of a tile, the last ones overlap. A part of
    an instance in another tile counts as one of its own.

    Args:
        root: the folder.
        size: side of square tiles, in pixels, or ``[height, width]``.
        holdout: share of the images held out for testing in the second layout, in (0, 1); ``subset_seed`` chooses.
        subset_seed: chooses the test images, where there are none, and the tiles that are held out.
        validation: share of the training tiles, in (0, 1), that is held out and takes the place of the test tiles;
            None evaluates on these.
        heldout: share of the training tiles, in (0, 1), by which the best epoch is chosen, and of which methods may
            learn.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        root: str,
        size: Size = 64,
        holdout: float = 0.2,
        subset_seed: int = 0,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        super().__init__(subset_seed, validation, heldout)
        self.root = Path(root).expanduser()
        require(min(sides(size)) >= 1, f"size {shown_size(size)}: tiles have sides of 1 pixel or more")
        check_fraction(holdout)
        self.size, self.holdout = size, holdout
        self.square = len({*sides(size)}) == 1

    def _read(self) -> tuple[InstanceSet, InstanceSet, tuple[str, ...]]:
        require(self.root.is_dir(), f"{self.root} is no folder; give the one that holds images/ and labels/, or train/")
        train, test = self.root / "train", self.root / "test"
        if train.is_dir():
            require(test.is_dir(), f"{self.root} has train but no test; add it, or give {train} to hold images out")
            return self._tiles(_pairs(train)), self._tiles(_pairs(test)), self.classes
        pairs = _pairs(self.root)
        all_of_one = torch.zeros(len(pairs), dtype=torch.int64)
        held = {*holdout_indices(all_of_one, (str(self.root),), self.holdout, self.subset_seed).tolist()}
        parts = [[pair for at, pair in enumerate(pairs) if (at in held) == tested] for tested in (False, True)]
        return self._tiles(parts[0]), self._tiles(parts[1]), self.classes

    def _tiles(self, pairs: list[tuple[Path, Path]]) -> InstanceSet:
        images, labels = [], []
        for image, label in pairs:
            pixels, numbers = read_image(image), read_labels(label)
            require(
                pixels.shape[1:] == numbers.shape,
                f"{label} is {shown_size(numbers.shape)}, its image {image.name} {shown_size(pixels.shape[1:])}: a "
                "label map has a number for each pixel of its image",
            )
            for rows, columns in _places(numbers.shape, self.size, image):
                images.append(torch.from_numpy(pixels[:, rows, columns].copy()))
                labels.append(torch.from_numpy(_numbered(numbers[rows, columns])))
        return InstanceSet(torch.stack(images), torch.stack(labels))


def read_image(file: Path) -> np.ndarray:
    """Return an image as uint8 ``[3, H, W]``.

    Raises:
        InputError: it cannot be read, or its pixels have more than 8 bits.
    """
    try:
        return np.asarray(read_rgb(file)).transpose(2, 0, 1)
    except Exception as error:  # as Pillow raises them of damaged files
        reason = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read: {reason or type(error).__name__}") from error


def read_labels(file: Path) -> np.ndarray:
    """Return a label map as int64 ``[H, W]``.

    Raises:
        InputError: it cannot be read, is a colour picture, has several pages or a number below 0.
    """
    try:
        with Image.open(file) as picture:
            pages, mode = getattr(picture, "n_frames", 1), picture.mode
            numbers = np.asarray(picture)
    except Exception as error:  # as above
        reason = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read: {reason or type(error).__name__}") from error
    require(
        mode in _WHOLE_NUMBERS,
        f"{file} has {mode} pixels, and a label map has one whole number each, 0 of background: save it as PNG or TIFF "
        "of 8 or 16 bits without colours",
    )
    require(pages == 1, f"{file} has {pages} pages; save each as a file of its own, and its image too")
    numbers = numbers.astype(np.int64)
    require(numbers.min() >= 0, f"{file} has the label {numbers.min()}; 0 is background, instances have numbers above")
    return numbers


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return each image with its label map, in the order of their names."""
    images, labels = (_by_name(folder / part) for part in ("images", "labels"))
    for some, others, lack in ((images, labels, "label map"), (labels, images, "image")):
        missing = [file.name for name, file in some.items() if name not in others]
        require(
            not missing,
            f"{folder}: {few(missing)} ha{'s' if len(missing) == 1 else 've'} no {lack} of the same name; add what "
            "lacks, or remove what is left over",
        )
    return [(file, labels[name]) for name, file in images.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    require(folder.is_dir(), f"{folder} is no folder; images lie in images/, label maps of the same names in labels/")
    found: dict[str, Path] = {}
    for name in sorted(os.listdir(folder)):
        file = folder / name
        if name.startswith(".") or file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        require(file.stem not in found, f"{file} has the name of {found.get(file.stem)}; rename or remove one of them")
        found[file.stem] = file
    require(bool(found), f"{folder} has no images; they are known by their endings, such as .png and .tif")
    return found


def _places(shape: tuple[int, ...], size: Size, image: Path) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of each tile."""
    (height, width), (rows, columns) = shape, sides(size)
    require(
        height >= rows and width >= columns,
        f"{image} is {height}x{width}, smaller than tiles of {rows}x{columns}: set data.size to at most its sides",
    )
    for top in _starts(height, rows):
        for left in _starts(width, columns):
            yield slice(top, top + rows), slice(left, left + columns)


def _starts(whole: int, part: int) -> list[int]:
    starts = list(range(0, whole - part + 1, part))
    return starts if starts[-1] + part == whole else [*starts, whole - part]


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Return labels as 1 to n, 0 of background."""
    values, places = np.unique(labels, return_inverse=True)
    return places.reshape(labels.shape).astype(np.int64) + (values[0] != 0)
