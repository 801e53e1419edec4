"""Which files of a dataset cannot be used, kept from one start of the program to the next."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trg_pyg._files import replaced_whole
from trg_pyg.data.bad_images import BadImage


class Found(NamedTuple):
    """What a check has found, and the file that lists it, if there was a place for one."""

    bad: list[BadImage]
    listed: Path | None


def read_record(folders: Sequence[Path], name: str, files: Sequence[str]) -> Found | None:
    """Return what was found out about ``files`` from the first folder that has it under ``name``, or None."""
    for folder in folders:
        try:
            record = json.loads((folder / name).read_text("utf-8"))
            bad = [BadImage(**entry) for entry in record["bad"]]
            if record["images"] == len(files) and all(files[one.position] == one.file for one in bad):
                return Found(bad, folder / name)
        except (OSError, ValueError, TypeError, KeyError, IndexError):
            continue  # a missing, unreadable or damaged record is only a reason to look again
    return None


def write_record(folders: Sequence[Path], name: str, images: int, bad: Sequence[BadImage]) -> Path | None:
    """Keep what was found among so many images under ``name`` in the first folder that can be written; return where."""
    # Names that are no UTF-8 survive as escapes.
    text = json.dumps({"images": images, "bad": [one._asdict() for one in bad]}, indent=1)
    for folder in folders:
        try:
            with replaced_whole(folder / name) as partial:
                partial.write_text(text, "utf-8")
            return folder / name
        except OSError:
            continue
    return None
