"""Files and folders that a reader sees whole or not at all."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from trg_pyg.errors import InputError


@contextlib.contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """Give a temporary file to be written in the place of ``path``.

    When the block ends without an error the file is flushed to disk and renamed: an interruption at any moment leaves
    the old file or the new one. Folders that are missing are made.

    Args:
        path: file to write or replace.

    Raises:
        OSError: the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, since a rename is atomic only within a file system; unique, since several processes may write.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # some writers leave a file that only its owner can read
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to be filled in the place of ``folder``, which must not be there yet.

    When the block ends without an error the folder is renamed, otherwise it is deleted: an interruption at any moment
    leaves the whole folder or none. Folders above it that are missing are made.

    Args:
        folder: to make.

    Raises:
        OSError: the folder is there and not empty, or cannot be made.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(folder)
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut too, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the whole new one.

    Raises:
        InputError: the disk is full, the folder cannot be written to, and the like.
    """
    with written(path), replaced_whole(path) as temporary:
        temporary.write_text(text)


def check_writable(path: Path, name: str, file: bool = False) -> None:
    """Refuse a file or folder that could not be written, before any work is done for it.

    Args:
        path: what is to be made, with the folders above it, or written to.
        name: of the option that names it, for the message.
        file: whether it is one.

    Raises:
        InputError: nothing can be written there.
    """
    folder = path.absolute().parent if file else path.absolute()
    try:
        folder = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{name}={path}: nothing can be written in {folder} ({error.strerror}); name one that can be written to"
        ) from error


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Say in one line that ``path`` cannot be written, where that is so.

    Raises:
        InputError: in place of the system's error.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error}); free some space or choose another output, and resume: what was saved "
            "before is as it was"
        ) from error
