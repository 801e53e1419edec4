"""Whether image files can be used, found out before they are needed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from trg_pyg._size import Size
from trg_pyg.data.files._decode import attempt_in_threads, opened, read_rgb, resized
from trg_pyg.data.files.bad_images import BadImage

Check = Literal["headers", "pixels", "never"]
# How files of these formats end. Of a file that was cut off the end is missing.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
# Headers: a thread waits for the disk or the network most of the time.
_THREADS = {"headers": 32, "pixels": os.cpu_count() or 1}


def check_images(root: Path, files: Sequence[str], shorter: Size, check: Check) -> list[BadImage]:
    """Return the files that cannot be used, in their order.

    Args:
        root: folder of the dataset.
        files: N image files, relative to ``root``.
        shorter: what they will be resized to cover.
        check: pixels decodes each file; headers opens it, reads kind, mode and size, and looks whether a JPEG, PNG or
            GIF ends as it should: one that does not is decoded. Damage in the middle of a file is then not found.

    Raises:
        InputError: the memory does not suffice.
    """
    if check == "never":
        return []
    look = _look_at_header if check == "headers" else _look_at_pixels
    return attempt_in_threads(files, lambda _, file: look(root / file, shorter), _THREADS[check])


def _look_at_pixels(file: Path, shorter: Size) -> None:
    resized(read_rgb(file).size, shorter)


def _look_at_header(file: Path, shorter: Size) -> None:
    with opened(file) as (image, stream):
        resized(image.size, shorter)
        sound = _ends_with(stream, _ENDS.get(image.format or "", b""))
    if not sound:  # cut off, or something follows the image, which does no harm: decoding tells
        read_rgb(file)


def _ends_with(stream: BinaryIO, end: bytes) -> bool:
    if not end:
        return True
    stream.seek(-len(end), os.SEEK_END)
    return stream.read() == end
