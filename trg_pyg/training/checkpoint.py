"""Training state on disk: complete or absent, never half written."""

import pickle
from pathlib import Path
from typing import Any

import torch

from trg_pyg._files import replaced_whole
from trg_pyg.errors import InputError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` in one step, so that an interruption leaves the previous file.

    Args:
        path: file to write or replace; missing folders are made.
        state: tensors and plain values (numbers, strings, lists, dicts), which :func:`load_checkpoint` accepts.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        with replaced_whole(path) as temporary:
            torch.save(state, temporary)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error}); free some space or choose another folder") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, with every tensor on the CPU and without running any pickled code.

    Raises:
        InputError: there is no such file, or it is not a readable checkpoint.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}; start without resuming, or choose the folder of an earlier run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read checkpoint {path} ({reason}); delete it and start without resuming") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}, not a checkpoint; choose another folder")
    return state
