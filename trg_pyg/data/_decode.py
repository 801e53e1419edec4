"""Image files to uint8 pixels."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trg_pyg.errors import InputError, few

_CHUNK = 256  # files a task: enough to make the cost of a task disappear, few enough to keep every core busy


def decode_images(root: Path, files: Sequence[str], size: int, shorter: int) -> Tensor:
    """Decode files to RGB, the shorter side resized to ``shorter`` and the centre cut out.

    Args:
        root: folder of the dataset.
        files: N image files, relative to ``root``.
        size: height and width of the result.
        shorter: pixels, at least ``size``.

    Returns:
        uint8 [N, 3, size, size].

    Raises:
        InputError: files cannot be read; all of them are tried first, and the message counts them.
    """
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)

    def decode_chunk(start: int) -> list[tuple[str, Exception]]:
        part = slice(start, start + _CHUNK)
        return decode_into(images[part], root, files[part], lambda rgb, _: centre_cut(rgb, size, shorter))

    Image.preinit()  # registers the formats once, before the threads do it at the same time
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = [failure for chunk in pool.map(decode_chunk, range(0, len(files), _CHUNK)) for failure in chunk]
    if failures:
        raise unreadable(failures, f"{len(files)} images under {root}")
    return images


def decode_into(
    images: Tensor, root: Path, files: Sequence[str], cut: Callable[[Image.Image, int], np.ndarray]
) -> list[tuple[str, Exception]]:
    """Decode files to RGB and write what ``cut`` makes of each into a tensor.

    Args:
        images: uint8 [n, 3, S, S] on the CPU; written in place.
        root: folder of the dataset.
        files: n image files, relative to ``root``.
        cut: takes an RGB image and its position in ``files``; returns uint8 [3, S, S].

    Returns:
        The files that cannot be read, each with the reason.
    """
    pixels, failures = images.numpy(), []
    for position, file in enumerate(files):
        try:
            pixels[position] = cut(_read_rgb(root / file), position)
        except MemoryError:
            raise
        except Exception as error:  # damaged files make Pillow raise errors of many unrelated classes
            failures.append((file, error))
    return failures


def unreadable(failures: Sequence[tuple[str, Exception]], among: str) -> InputError:
    """Return the error that names the files of :func:`decode_into`'s failures; ``among`` says out of what they are."""
    reason = " ".join(str(failures[0][1]).split())
    return InputError(
        f"{len(failures)} of {among} cannot be read: {few([file for file, _ in failures])} (the first: {reason}); "
        "replace or remove them"
    )


def centre_cut(rgb: Image.Image, size: int, shorter: int) -> np.ndarray:
    """Resize the shorter side to ``shorter`` pixels and cut the centre out, uint8 [3, size, size]."""
    width, height = rgb.size
    least = min(width, height)
    if least != shorter:
        width, height = shorter * width // least, shorter * height // least
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)  # Pillow's bilinear antialiases
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(rgb.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


def _read_rgb(file: Path) -> Image.Image:
    with Image.open(file) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"{image.mode} pixels would be clipped to 8 bits, convert the file")
        return image.convert("RGB")
