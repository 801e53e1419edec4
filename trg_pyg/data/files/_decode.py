"""Image files to uint8 pixels."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageChops, ImageColor, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from trg_pyg._size import Size, sides
from trg_pyg.data.files.bad_images import BadImage
from trg_pyg.errors import InputError, require

Interpolation = Literal["bilinear", "bicubic"]
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}  # Pillow's antialias

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
_SCALES = (8, 4, 2)
_TRANSPOSED = 5  # EXIF orientations from here on have rows for columns
_CHUNK = 256  # files a task: enough to make the cost of a task disappear, few enough to keep every core busy


def decode_images(
    root: Path,
    files: Sequence[str],
    size: Size,
    shorter: Size,
    interpolation: Interpolation = "bilinear",
    background: Colour = WHITE,
) -> tuple[Tensor, list[BadImage]]:
    """Decode files to RGB, resized to cover ``shorter``, and the centre cut out.

    Args:
        root: folder of the dataset.
        files: N image files, relative to ``root``.
        size: side of the result, or height and width.
        shorter: pixels of the shorter side, or height and width, at least ``size``.
        interpolation: by which it is resized, antialiased.
        background: colour below what is transparent.

    Returns:
        uint8 [N, 3, H, W], and the files that cannot be used, whose images are undefined.

    Raises:
        InputError: the memory does not suffice.
    """
    images = torch.empty(len(files), 3, *sides(size), dtype=torch.uint8)
    pixels = images.numpy()

    def decode(position: int, file: str) -> None:
        pixels[position] = centre_cut(read_rgb(root / file, background), size, shorter, interpolation)

    return images, attempt_in_threads(files, decode, os.cpu_count() or 1)


def decode_into(
    images: Tensor,
    root: Path,
    files: Sequence[str],
    read: Callable[[Path, int], np.ndarray],
) -> list[BadImage]:
    """Write what ``read`` makes of each file into a tensor.

    Args:
        images: uint8 [n, 3, H, W] on the CPU; written in place.
        root: folder of the dataset.
        files: n image files, relative to ``root``.
        read: takes a file and its position in ``files``; returns uint8 [3, H, W].

    Returns:
        The files that cannot be used.

    Raises:
        InputError: the memory does not suffice.
    """
    pixels = images.numpy()

    def decode(position: int, file: str) -> None:
        pixels[position] = read(root / file, position)

    return attempt(files, decode)


def attempt(files: Sequence[str], work: Callable[[int, str], None], start: int = 0) -> list[BadImage]:
    """Do ``work(position, file)`` for each file, positions from ``start``, and return those that it fails for.

    Raises:
        InputError: the memory does not suffice, which is not the file's fault.
    """
    failures = []
    for position, file in enumerate(files, start):
        try:
            work(position, file)
        except MemoryError as error:
            raise InputError(
                f"the memory does not suffice to decode {file}; free some, take fewer workers or make the image smaller"
            ) from error
        except Exception as error:  # damaged files make Pillow raise errors of many unrelated classes
            failures.append(BadImage(position, file, _reason(error), _is_damage(error)))
    return failures


def attempt_in_threads(files: Sequence[str], work: Callable[[int, str], None], threads: int) -> list[BadImage]:
    """Do the same in several threads; the failures are in the order of the files."""
    # Registers all formats once. Threads that did so at the same time could miss some. The usual ones come first.
    Image.preinit()
    Image.init()
    with ThreadPoolExecutor(threads) as pool:
        chunks = pool.map(
            lambda start: attempt(files[start : start + _CHUNK], work, start), range(0, len(files), _CHUNK)
        )
        return [failure for chunk in chunks for failure in chunk]


def read_rgb(file: Path, background: Colour = WHITE) -> Image.Image:
    """Decode a file to RGB, turned upright by the orientation in its EXIF data, as viewers show it.

    What is transparent shows the background: the colours below it are any, black or what an editor has cut away.

    Raises:
        Exception: of many classes, the file cannot be read or is no image that RGB can be made of.
    """
    with opened(file) as (image, _):
        return to_rgb(image, background)


def to_rgb(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """Decode an image of which only the header was read, as :func:`read_rgb` does."""
    rgb = image
    if has_alpha(image):
        rgba = image.convert("RGBA")
        rgb = rgba.convert("RGB")
        rgb.paste(background, None, ImageChops.invert(rgba.getchannel("A")))
    elif isinstance(image, JpegImageFile) and image.mode == "RGB":
        image.load()  # not converted: of a large photograph a copy takes half as long as decoding it
    else:
        rgb = image.convert("RGB")
    try:
        ImageOps.exif_transpose(rgb, in_place=True)
    except MemoryError:
        raise
    except Exception:  # of as many classes; the pixels are whole, and EXIF data that are not turn nothing
        pass
    return rgb


def upright_size(image: Image.Image) -> tuple[int, int] | None:
    """Return width and height that a JPEG of which only the header was read will have; None of other images."""
    if not isinstance(image, JpegImageFile):
        return None
    try:
        across = _orientation(image) >= _TRANSPOSED
    except MemoryError:
        raise
    except Exception:  # as above
        return None
    return (image.height, image.width) if across else image.size


def shrink(image: Image.Image, most: float) -> int:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its width and height, for which libjpeg computes fewer pixels.

    A side that is no multiple is rounded up: its last pixel is of the part of a block that is there.

    Args:
        image: a JPEG of which only the header was read.
        most: how many times smaller it may be, >= 0.

    Returns:
        8, 4 or 2; 1 where it stays as large as it is.
    """
    for scale in _SCALES:
        # Turned, a last pixel that is not whole would be the first, and move the others by its share.
        whole = image.width % scale == image.height % scale == 0
        if scale <= most and (whole or _orientation(image) == 1):
            image.draft(None, (image.width // scale, image.height // scale))
            return scale
    return 1


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def has_alpha(image: Image.Image) -> bool:
    """Return whether an image may be transparent, as its header says."""
    return image.mode.endswith(("A", "a")) or "transparency" in image.info


def colour_of(name: str) -> Colour:
    """Return red, green and blue, 0..255, of a colour.

    Raises:
        InputError: it has no such name.
    """
    try:
        red, green, blue, *alpha = ImageColor.getrgb(name)
        require(not alpha, "it is transparent itself")
    except ValueError as error:
        raise InputError(
            f"background={name}: no such colour ({error}); give a name such as white, or #rrggbb"
        ) from error
    return red, green, blue


@contextmanager
def opened(file: Path) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Give an image of which only the header was read, and its file.

    Raises:
        Exception: as :func:`read_rgb`.
    """
    with file.open("rb") as stream:
        try:
            image = Image.open(stream)
        except UnidentifiedImageError:
            empty = stream.seek(0, os.SEEK_END) == 0
            raise ValueError("the file is empty" if empty else "it is no image of a known format") from None
        with image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"{image.mode} pixels would be clipped to 8 bits, convert the file")
            yield image, stream


def centre_cut(rgb: Image.Image, size: Size, shorter: Size, interpolation: Interpolation = "bilinear") -> np.ndarray:
    """Resize to cover ``shorter`` and cut the centre out, uint8 [3, H, W]."""
    width, height = resized(rgb.size, shorter)
    if (width, height) != rgb.size:
        rgb = rgb.resize((width, height), FILTERS[interpolation])
    rows, columns = sides(size)
    left, top = round((width - columns) / 2), round((height - rows) / 2)
    return np.asarray(rgb.crop((left, top, left + columns, top + rows))).transpose(2, 0, 1)


def resized(size: tuple[int, int], shorter: Size) -> tuple[int, int]:
    """Return the least width and height, in the same ratio, that cover a size: its shorter side has these pixels.

    Raises:
        ValueError: the result is larger than Pillow lets an image be: the file is all too narrow.
    """
    width, height = size
    rows, columns = sides(shorter)
    # The side that is the shorter one, measured by what it has to cover.
    if rows * width >= columns * height:
        width, height = rows * width // height, rows
    else:
        width, height = columns, columns * height // width
    # Twice: above MAX_IMAGE_PIXELS Pillow warns of an image in a file, above its double it refuses.
    if Image.MAX_IMAGE_PIXELS is not None and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{size[0]}x{size[1]} pixels are too narrow: resized, they would be {width}x{height}")
    return width, height


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _is_damage(error: Exception) -> bool:
    # Pillow's own OSErrors have no number; a damaged file can make it seek to an impossible place, EINVAL.
    return not isinstance(error, OSError) or error.errno in (None, EINVAL)
