"""What is in image files, known again at the next start without reading them once more."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from trg_pyg._files import replaced_whole
from trg_pyg.data.files._decode import has_alpha

_FILE = "contents"
_CHUNK = 256
_THREADS = 32  # which wait for the disk or the network most of the time
_DIGITS = 32  # of a hash, hexadecimal
_MAY_HAVE_ALPHA = (".png", ".gif", ".webp", ".tif", ".tiff")


class Content(NamedTuple):
    """What is in a file.

    Attributes:
        digest: hash of its bytes; empty where the system does not hand the file out.
        alpha: whether it is an image that may be transparent.
    """

    digest: str
    alpha: bool = False


def cache_folders(root: Path) -> list[Path]:
    """Return where what is known of the files under a root is kept: there, or in the user's cache folder."""
    folders = [root / ".trg_pyg_cache"]
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if user.is_absolute():  # "~" stays as it is for a user without a home
        # Roots that share the user's folder are kept apart.
        folders.append(user / "trg_pyg" / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16])
    return folders


def read_contents(root: Path, files: Sequence[str], folders: Sequence[Path]) -> list[Content]:
    """Return what is in each file.

    A file is read again only where its size, its times or its inode are others than when it was read last. The time of
    the last change of content or attributes is among them, which copying with times and ``touch`` do not set back.

    Args:
        root: folder of the dataset.
        files: N files, relative to ``root``.
        folders: where to look for what is known and, in the first that can be written, to keep it; none keeps nothing.
    """
    known = _read_known(folders)
    place = os.fspath(root)

    def look(start: int) -> list[tuple[bytes, Content]]:
        return [_look(place, file, known) for file in files[start : start + _CHUNK]]

    with ThreadPoolExecutor(_THREADS) as pool:
        seen = [one for chunk in pool.map(look, range(0, len(files), _CHUNK)) for one in chunk]
    found = {os.fsencode(file): one for file, one in zip(files, seen, strict=True) if one[1].digest}
    if any(known.get(name) != one for name, one in found.items()):
        _write_known(folders, known | found)
    return [content for _, content in seen]


def digest_of(parts: Iterable[object]) -> str:
    """Return a hash of plain values in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(os.fsencode(str(part)) + b"\0")
    return digest.hexdigest()


def _look(root: str, file: str, known: dict[bytes, tuple[bytes, Content]]) -> tuple[bytes, Content]:
    """Return by what a file is known to be unchanged, and what is in it."""
    path = os.path.join(root, file)
    try:
        status = os.stat(path)
        numbers = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        stamp = b" ".join(b"%d" % number for number in numbers)
        before = known.get(os.fsencode(file))
        return before if before is not None and before[0] == stamp else (stamp, _read(path))
    except OSError:
        return b"", Content("")


def _read(path: str) -> Content:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:_DIGITS]
        alpha = False
        if path.lower().endswith(_MAY_HAVE_ALPHA):
            stream.seek(0)
            try:
                with Image.open(stream) as image:
                    alpha = has_alpha(image)
            except MemoryError:
                raise
            except (
                Exception
            ):  # damaged files make Pillow raise errors of many classes; to find them is not the task here
                pass
    return Content(digest, alpha)


def _read_known(folders: Sequence[Path]) -> dict[bytes, tuple[bytes, Content]]:
    for folder in folders:
        try:
            records = (folder / _FILE).read_bytes().split(b"\0")
            found = {}
            for record in records[:-1]:
                digest, alpha, stamp, name = record.split(b"|", 3)
                if len(digest) != _DIGITS:
                    raise ValueError
                found[name] = stamp, Content(digest.decode("ascii"), alpha == b"a")
            return found
        except (OSError, ValueError):
            continue  # a missing, unreadable or damaged record is only a reason to read the files
    return {}


def _write_known(folders: Sequence[Path], known: dict[bytes, tuple[bytes, Content]]) -> None:
    records = [
        b"|".join((content.digest.encode(), b"a" if content.alpha else b"", stamp, name)) + b"\0"
        for name, (stamp, content) in known.items()
    ]
    for folder in folders:
        try:
            with replaced_whole(folder / _FILE) as partial:
                partial.write_bytes(b"".join(records))
            return
        except OSError:
            continue  # what is not kept is read again
