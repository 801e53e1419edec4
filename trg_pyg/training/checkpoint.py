"""Training states on disk: each complete and checked, the last ones kept, so that there is always one to go on from."""

import contextlib
import hashlib
import io
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from trg_pyg._files import replaced_whole
from trg_pyg.errors import InputError

# A file is this, the SHA-256 of what follows in hexadecimal digits, a line end, and what torch.save wrote.
_MAGIC = b"trg_pyg checkpoint sha256 "
_HEADER = len(_MAGIC) + 64 + 1


class CheckpointNotWritten(OSError):
    """A checkpoint could not be written; those that were there are as they were."""


def save_checkpoint(path: Path, state: dict[str, Any], keep: int = 1) -> None:
    """Write ``state`` to ``path`` in one step, with its hash; an interruption at any moment leaves the previous file.

    Args:
        path: file to write or replace; missing folders are made.
        state: tensors and plain values (numbers, strings, lists, dicts), which :func:`load_checkpoint` accepts.
        keep: files in all, >= 1: the previous ones become ``<name>.1.pt``, ``<name>.2.pt`` and so on.

    Raises:
        CheckpointNotWritten: the disk is full, the folder cannot be written to, and the like.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    try:
        with replaced_whole(path) as temporary:
            with temporary.open("wb") as file:
                file.write(_MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n")
                file.write(content)
            _shift(path, keep)
    except OSError as error:
        raise CheckpointNotWritten(f"cannot write {path} ({error})") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, with every tensor on the CPU and without running any pickled code.

    Where the file is damaged, the newest earlier one that is not is read, with a warning that says so.

    Raises:
        InputError: there is no such file, or none of them is a readable checkpoint.
    """
    files = [file for file in _files(path) if file.is_file()]
    if not files:
        raise InputError(f"no checkpoint at {path}; start without resuming, or choose the folder of an earlier run")
    reasons = []
    for file in files:
        try:
            state = _read(file)
        except _Damaged as damage:
            reasons.append(f"{file.name}: {damage}")
            continue
        if reasons:
            warnings.warn(
                f"{path.parent}: {'; '.join(reasons)}. Going on from {file.name}, the one before", stacklevel=2
            )
        return state
    raise InputError(
        f"no checkpoint in {path.parent} can be read ({'; '.join(reasons)}); delete them and start without resuming"
    )


def has_checkpoint(path: Path) -> bool:
    """Return whether there is a file that :func:`load_checkpoint` would read, damaged or not."""
    return any(file.is_file() for file in _files(path))


class _Damaged(Exception):
    """Why a file is no checkpoint."""


def _read(file: Path) -> dict[str, Any]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _Damaged(str(error)) from error
    if not content.startswith(_MAGIC) or len(content) < _HEADER:
        raise _Damaged("cut off, or not written by this program")
    stated, body = content[len(_MAGIC) : _HEADER - 1], memoryview(content)[_HEADER:]
    if hashlib.sha256(body).hexdigest().encode() != stated:
        raise _Damaged("damaged, its content has another hash than it states")
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # other content makes the reader fail in any way, IndexError and KeyError among them
        raise _Damaged(str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(state, dict):
        raise _Damaged(f"holds a {type(state).__name__}, not a checkpoint")
    return state


def _files(path: Path) -> list[Path]:
    """Return the places of checkpoints, the newest first."""
    older = path.parent.glob(f"{path.stem}.*{path.suffix}")
    numbered = {int(number): file for file in older if (number := file.stem.rpartition(".")[2]).isdigit()}
    return [path, *(numbered[number] for number in sorted(numbered))]


def _shift(path: Path, keep: int) -> None:
    """Give each file the place of the next older one; the newest keeps its own as well until it is replaced."""
    for number in range(keep - 1, 0, -1):
        newer = path if number == 1 else _older(path, number - 1)
        if newer.is_file():
            temporary = path.with_name(f".{path.name}.{number}.tmp")
            temporary.unlink(missing_ok=True)
            try:
                os.link(newer, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(newer, temporary)
            temporary.replace(_older(path, number))
    for file in _files(path)[keep:]:
        with contextlib.suppress(OSError):
            file.unlink()


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")
