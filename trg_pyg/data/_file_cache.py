"""What is known of a dataset's files from one start of the program to the next."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import PIL
from torch import Tensor

from trg_pyg.data._check import Check
from trg_pyg.data._check_record import Found, read_record, write_record
from trg_pyg.data._tensor_cache import read_cached, write_cached
from trg_pyg.data.bad_images import BadImage

_CHUNK = 256
_THREADS = 32  # which wait for the disk or the network most of the time


@dataclass(frozen=True)
class FileCache:
    """Decoded images and bad files, each under a name that is made of the names, sizes and times of the files.

    Attributes:
        folders: where to look and, in the first that can be written, to keep; none keeps nothing and finds nothing.
        files: N files, relative to the root of the dataset.
        keys: name, size and time of each.
        size: height and width of the decoded images.
        shorter: pixels that their shorter side was resized to.
    """

    folders: Sequence[Path]
    files: Sequence[str]
    keys: Sequence[bytes]
    size: int
    shorter: int

    @classmethod
    def of(cls, root: Path, files: Sequence[str], size: int, shorter: int, enabled: bool) -> "FileCache":
        """Return the cache of files as they are now; it lies under ``root``, or in the user's cache folder."""
        if not enabled:
            return cls((), files, (), size, shorter)
        return cls(_folders(root), files, _keys(root, files), size, shorter)

    def select(self, kept: Tensor) -> "FileCache":
        """Return the cache of the files that are kept, bool [N]."""
        selectors = kept.tolist()
        files, keys = list(compress(self.files, selectors)), list(compress(self.keys, selectors))
        return FileCache(self.folders, files, keys, self.size, self.shorter)

    def read_images(self) -> Tensor | None:
        """Return the decoded images, uint8 [N, 3, S, S], or None."""
        return read_cached(self.folders, self._images_name(), (len(self.files), 3, self.size, self.size))

    def write_images(self, images: Tensor) -> None:
        """Keep the decoded images; warn if there is no place for them."""
        if self.folders:
            write_cached(self.folders, self._images_name(), images)

    def read_bad(self, check: Check) -> Found | None:
        """Return the bad files that a check has found, and the file that lists them, or None if it was not made."""
        return read_record(self.folders, self._record_name(check), self.files)

    def write_bad(self, check: Check, bad: Sequence[BadImage]) -> Path | None:
        """Keep what a check has found and return the file that lists it, if there is a place for it."""
        return write_record(self.folders, self._record_name(check), len(self.files), bad)

    def _images_name(self) -> str:
        return f"{self._digest(f'upright, size {self.size} of {self.shorter}')}.safetensors"

    def _record_name(self, check: Check) -> str:
        # Another release of Pillow may read other files.
        return f"{self._digest(f'bad at {self.shorter} for Pillow {PIL.__version__}')}.{check}.json"

    def _digest(self, use: str) -> str:
        digest = hashlib.sha256(f"{use}\n".encode())
        for key in self.keys:
            digest.update(key)
        return digest.hexdigest()[:32]


def _folders(root: Path) -> list[Path]:
    folders = [root / ".trg_pyg_cache"]
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if user.is_absolute():  # "~" stays as it is for a user without a home
        # Roots that share the user's folder are kept apart: names, sizes and times of two of them may agree.
        folders.append(user / "trg_pyg" / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16])
    return folders


def _keys(root: Path, files: Sequence[str]) -> list[bytes]:
    place = os.fspath(root)

    def look(start: int) -> list[bytes]:
        return [_key(place, file) for file in files[start : start + _CHUNK]]

    with ThreadPoolExecutor(_THREADS) as pool:
        return [key for chunk in pool.map(look, range(0, len(files), _CHUNK)) for key in chunk]


def _key(root: str, file: str) -> bytes:
    try:
        status = os.stat(os.path.join(root, file))
        version = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        version = "unreadable"
    return os.fsencode(file) + f"\0{version}\n".encode()
