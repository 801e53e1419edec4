"""Image files to one uint8 tensor."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trg_pyg.errors import InputError, few

_CHUNK = 256  # files a task: enough to make the cost of a task disappear, few enough to keep every core busy


def decode_images(root: Path, files: Sequence[str], size: int) -> Tensor:
    """Decode files to RGB, the shorter side resized to ``size`` and the centre cut out.

    Args:
        root: folder of the dataset.
        files: N image files, relative to ``root``.
        size: height and width of the result.

    Returns:
        uint8 [N, 3, size, size].

    Raises:
        InputError: files cannot be read; all of them are tried first, and the message counts them.
    """
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    pixels = images.numpy()

    def decode_chunk(start: int) -> list[tuple[str, Exception]]:
        failures = []
        for position in range(start, min(start + _CHUNK, len(files))):
            try:
                pixels[position] = _decode(root / files[position], size)
            except MemoryError:
                raise
            except Exception as error:  # damaged files make Pillow raise errors of many unrelated classes
                failures.append((files[position], error))
        return failures

    Image.preinit()  # registers the formats once, before the threads do it at the same time
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = [failure for chunk in pool.map(decode_chunk, range(0, len(files), _CHUNK)) for failure in chunk]
    if failures:
        names = [file for file, _ in failures]
        reason = " ".join(str(failures[0][1]).split())
        raise InputError(
            f"{len(failures)} of {len(files)} images under {root} cannot be read: {few(names)} (the first: {reason}); "
            "replace or remove them"
        )
    return images


def _decode(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"{image.mode} pixels would be clipped to 8 bits, convert the file")
        rgb = image.convert("RGB")
    width, height = rgb.size
    shorter = min(width, height)
    if shorter != size:
        width, height = size * width // shorter, size * height // shorter
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)  # Pillow's bilinear antialiases
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(rgb.crop((left, top, left + size, top + size))).transpose(2, 0, 1)
