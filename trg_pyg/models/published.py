"""Teachers that others published: what ``teachers.yaml`` says of them, and their files, fetched once and verified."""

import hashlib
import re
import shutil
import sys
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import yaml
from tqdm import tqdm

from trg_pyg._files import replaced_whole
from trg_pyg._program import say
from trg_pyg.errors import InputError, near, require

TEACHERS = Path(__file__).with_name("teachers.yaml")
# Of silence, after which a download is given up.
_SECONDS = 30
_SCHEMES = ("https", "http", "file")


@dataclass(frozen=True, kw_only=True)
class PublishedTeacher:
    """An entry of ``teachers.yaml``.

    Attributes:
        name: by which ``teacher.weights`` knows it.
        network: as ``teacher.name`` has it.
        args: further keyword arguments of the network.
        data: the dataset that it was trained on, for the reader.
        url: of its file.
        sha256: of the file, 8 to 64 hexadecimal digits from the left; None where nobody published it.
        accuracy: test top-1 in percent as the source states it; None where it does not.
        mean: channel means that it expects, in [0, 1].
        std: channel deviations that it expects.
        source: who states all this.

    Raises:
        InputError: the hash is none, or the address is neither https, nor http, nor a file.
    """

    name: str
    network: str
    args: dict[str, Any] = field(default_factory=dict)
    data: str
    url: str
    sha256: str | None
    accuracy: float | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str

    def __post_init__(self) -> None:
        hashed = self.sha256 is None or re.fullmatch(r"[0-9a-f]{8,64}", str(self.sha256))
        require(bool(hashed), f"{self.name}: sha256={self.sha256}: give 8 to 64 lower-case hexadecimal digits, or null")
        scheme = urlsplit(self.url).scheme
        require(scheme in _SCHEMES, f"{self.name}: url={self.url}: give an address of {', '.join(_SCHEMES)}")

    def file(self, folder: Path) -> Path:
        """Return where its file lies in ``folder``."""
        return folder / (self.name.replace("/", "_") + Path(urlsplit(self.url).path).suffix)


def published_teachers() -> dict[str, PublishedTeacher]:
    """Return the entries of ``teachers.yaml`` by name.

    Raises:
        InputError: an entry has an unknown key, lacks one, or has an impossible value.
    """
    teachers = {}
    for name, entry in yaml.safe_load(TEACHERS.read_text()).items():
        try:
            mean, std = tuple(entry["mean"]), tuple(entry["std"])
            teachers[name] = PublishedTeacher(**{**entry, "name": name, "mean": mean, "std": std})
        except (TypeError, KeyError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rpartition("__init__() ")[2]
            raise InputError(f"{TEACHERS}: {name}: {reason}") from error
    return teachers


def find_published(weights: Path | None) -> PublishedTeacher | None:
    """Return the entry that ``teacher.weights`` names, ``None`` where it names a file.

    Raises:
        InputError: it is neither a file, nor the name of a file, nor that of an entry.
    """
    if weights is None or weights.is_file():
        return None
    name, teachers = weights.as_posix(), published_teachers()
    # Whether a file is there is for its reader to say: a configuration may be read before the file exists.
    require(
        name in teachers or weights.suffix != "",
        f"teacher.weights={name}: neither a file nor a name in {TEACHERS.name}{near(name, teachers)}",
    )
    return teachers.get(name)


def fetch(teacher: PublishedTeacher, folder: Path, quiet: bool = False) -> Path:
    """Return the teacher's file, downloaded if it is not in ``folder`` yet, once its hash is the known one.

    Where nobody published a hash, the one that :func:`record` wrote down has to be met.

    Args:
        teacher: whose file.
        folder: where it is kept; a file that was fetched by hand can be put there.
        quiet: no progress bar, and no line but a warning, on standard error, where nobody published the hash.

    Raises:
        InputError: the download fails, is led away from https, or the file is another one than the hash is of; it is
            removed then.
    """
    file = teacher.file(folder)
    known, by = teacher.sha256, TEACHERS.name
    if known is None and _record(file).is_file():
        known, by = (_record(file).read_text().split() or [""])[0], str(_record(file))
    if file.is_file():
        try:
            _verify(file, known, by, file)
        except InputError:
            file.unlink()
            raise
        return file
    doubt = "" if known else "; nobody published its hash, so its content is unverified"
    if not known and urlsplit(teacher.url).scheme == "http":
        doubt += " and may have been changed on its way"
    if doubt or not quiet:  # a doubt is a warning
        say(f"teacher {teacher.name}: downloading {teacher.url}{doubt}", error=quiet)
    with replaced_whole(file) as temporary:
        try:
            _download(teacher.url, temporary, quiet)
        except (OSError, HTTPException, ValueError) as error:
            raise InputError(
                f"{teacher.url}: download failed: {' '.join(str(error).split()) or type(error).__name__}; start again, "
                f"or fetch it by hand and put it there as {file}"
            ) from error
        _verify(temporary, known, by, file)
    return file


def is_verified(teacher: PublishedTeacher, file: Path) -> bool:
    """Return whether the hash of a file that was fetched is known, from ``teachers.yaml`` or an earlier start."""
    return teacher.sha256 is not None or _record(file).is_file()


def record(teacher: PublishedTeacher, file: Path, sha256: str, quiet: bool = False) -> None:
    """Write down the hash of a file that has none published, for the next start to hold the file to.

    Args:
        teacher: whose file.
        file: which could be read.
        sha256: its hash.
        quiet: do not say so.
    """
    if not is_verified(teacher, file):
        with replaced_whole(_record(file)) as temporary:
            temporary.write_text(f"{sha256}  {file.name}\n")  # sha256sum --check reads it
        if quiet:
            return
        say(f"teacher {teacher.name}: sha256 {sha256}, kept in {_record(file)}; pin it in {TEACHERS}")


def sha256_of(file: Path) -> str:
    """Return the hash of a file, 64 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _verify(content: Path, known: str | None, by: str, file: Path) -> None:
    if known is None:
        return
    digest = sha256_of(content)
    require(
        len(known) >= 8 and digest.startswith(known),
        f"{file}: its sha256 is {digest}, {by} has {known or 'none'}: the file was not read and is removed; start "
        f"again, or correct {by} if you trust the new file",
    )


class _NoWeakerRedirect(HTTPRedirectHandler):
    """Follows a redirection within https or http, and from http to https; not to what is weaker, or no web address."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        here, there = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if there not in ("https", here):
            raise OSError(f"it is redirected from {here} to {there}, {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, target: Path, quiet: bool) -> None:
    hidden = quiet or not sys.stderr.isatty()
    with build_opener(_NoWeakerRedirect).open(url, timeout=_SECONDS) as answer, target.open("wb") as file:
        size = int(answer.headers.get("Content-Length") or 0)
        bar = tqdm.wrapattr(answer, "read", total=size or None, unit="B", unit_scale=True, leave=False, disable=hidden)
        with bar as content:
            shutil.copyfileobj(content, file)
        received = file.tell()
    # A connection that breaks off looks like the end of the file.
    if size and received != size:
        raise OSError(f"it ended after {received:,} of {size:,} bytes")
