"""One tensor a file, kept from one start of the program to the next."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trg_pyg._files import replaced_whole

_KEY = "images"


def read_cached(folders: Sequence[Path], name: str, shape: tuple[int, ...]) -> Tensor | None:
    """Return the uint8 tensor called ``name`` from the first folder that has a sound one of ``shape``, or None."""
    for folder in folders:
        try:
            tensor = load_file(folder / name).get(_KEY)
        except (OSError, SafetensorError):
            continue  # a missing, unreadable or damaged cache is only a reason to build it again
        if tensor is not None and tensor.dtype == torch.uint8 and tensor.shape == shape:
            return tensor
    return None


def write_cached(folders: Sequence[Path], name: str, tensor: Tensor) -> None:
    """Keep ``tensor`` under ``name`` in the first folder that can be written; warn if none can."""
    reasons = []
    for folder in folders:
        try:
            with replaced_whole(folder / name) as partial:
                save_file({_KEY: tensor}, partial)
            return
        except (OSError, SafetensorError) as error:
            reasons.append(f"{folder}: {error}")
    warnings.warn(f"decoded images are not cached and will be decoded again ({'; '.join(reasons)})", stacklevel=2)
