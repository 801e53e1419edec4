"""Image files that belong to no dataset, prepared as the test images of one are."""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from trg_pyg._size import Size
from trg_pyg.data.files._decode import Interpolation, colour_of, decode_images
from trg_pyg.data.files.bad_images import BadImage
from trg_pyg.data.image_folder import IMAGE_SUFFIXES
from trg_pyg.errors import InputError, require


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Return files, and the images below folders, in the order of ``paths``, those of a folder sorted.

    A file is taken whatever its name is. In folders, at any depth, hidden files and folders and files that are not
    named like an image are passed over, and links to folders are not followed. A file that is named twice is there
    once.

    Args:
        paths: files and folders.

    Raises:
        InputError: there is nothing of that name, a folder holds no image, or it cannot be read.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        # A dangling link is a file that is reported as unreadable.
        require(path.exists() or path.is_symlink(), f"{path}: there is no such file or folder")
        found += _below(path) if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def read_images(
    files: Sequence[Path],
    size: Size,
    shorter: Size,
    interpolation: Interpolation = "bilinear",
    background: str = "white",
) -> tuple[Tensor, list[BadImage]]:
    """Decode files as those of a dataset: to RGB, turned upright, resized (antialiased), the centre cut out.

    Args:
        files: N files.
        size: side of the result, or height and width, in pixels, >= 1.
        shorter: pixels that the shorter side is resized to, or height and width to cover, at least ``size``.
        interpolation: bilinear or bicubic.
        background: colour that shows through what is transparent, by name or as ``"#rrggbb"``.

    Returns:
        uint8 [N, 3, H, W], and the files that cannot be used, whose images are undefined.

    Raises:
        InputError: the colour is unknown, or the memory does not suffice.
    """
    return decode_images(Path(), [str(file) for file in files], size, shorter, interpolation, colour_of(background))


def _below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror or error}") from error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = sorted(name for name in names if not name.startswith("."))
        found += [Path(place, name) for name in shown if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]
    if not found:
        kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise InputError(f"{folder}: no images in this folder or below; they are known by their endings: {kinds}")
    return found
