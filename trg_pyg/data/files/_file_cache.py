"""What is known of a dataset's files from one start of the program to the next."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import PIL
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trg_pyg._files import replaced_whole
from trg_pyg._size import Size, sides
from trg_pyg.data.files._check import Check
from trg_pyg.data.files._contents import Content
from trg_pyg.data.files._decode import Colour, Interpolation
from trg_pyg.data.files.bad_images import BadImage

_KEY = "images"


class Found(NamedTuple):
    """What a check has found, and the file that lists it, if there was a place for one."""

    bad: list[BadImage]
    listed: Path | None


@dataclass(frozen=True)
class FileCache:
    """Decoded images and bad files, each under a name that is made of the names and contents of the files.

    Attributes:
        folders: where to look and, in the first that can be written, to keep; none keeps nothing and finds nothing.
        files: N files, relative to the root of the dataset.
        keys: name and content of each.
        size: side of the decoded images, or height and width.
        shorter: what they were resized to cover.
        interpolation: by which it was.
        background: colour below what is transparent.
    """

    folders: Sequence[Path]
    files: Sequence[str]
    keys: Sequence[bytes]
    size: Size
    shorter: Size
    interpolation: Interpolation
    background: Colour

    @classmethod
    def of(
        cls,
        folders: Sequence[Path],
        files: Sequence[str],
        contents: Sequence[Content],
        size: Size,
        shorter: Size,
        interpolation: Interpolation,
        background: Colour,
    ) -> "FileCache":
        """Return the cache of files with these contents."""
        keys = [
            os.fsencode(file) + f"\0{content.digest or 'unreadable'}\n".encode()
            for file, content in zip(files, contents, strict=True)
        ]
        return cls(folders, files, keys, size, shorter, interpolation, background)

    def select(self, kept: Tensor) -> "FileCache":
        """Return the cache of the files that are kept, bool [N]."""
        selectors = kept.tolist()
        files, keys = list(compress(self.files, selectors)), list(compress(self.keys, selectors))
        return replace(self, files=files, keys=keys)

    def read_images(self) -> Tensor | None:
        """Return the decoded images, uint8 [N, 3, H, W], from the first folder that has them whole, or None."""
        name, shape = self._images_name(), (len(self.files), 3, *sides(self.size))
        for folder in self.folders:
            try:
                images = load_file(folder / name).get(_KEY)
            except (OSError, SafetensorError):
                continue  # a missing, unreadable or damaged cache is only a reason to build it again
            if images is not None and images.dtype == torch.uint8 and images.shape == shape:
                return images
        return None

    def write_images(self, images: Tensor) -> None:
        """Keep the decoded images; warn if there is no place for them."""
        place, reasons = self._write(self._images_name(), lambda partial: save_file({_KEY: images}, partial))
        if self.folders and place is None:
            why = "; ".join(reasons)
            warnings.warn(f"decoded images are not cached and will be decoded again ({why})", stacklevel=2)

    def read_bad(self, check: Check) -> Found | None:
        """Return the bad files that a check has found, and the file that lists them, or None if it was not made."""
        name = self._record_name(check)
        for folder in self.folders:
            try:
                record = json.loads((folder / name).read_text("utf-8"))
                bad = [BadImage(**entry) for entry in record["bad"]]
                if record["images"] == len(self.files) and all(self.files[one.position] == one.file for one in bad):
                    return Found(bad, folder / name)
            except (OSError, ValueError, TypeError, KeyError, IndexError):
                continue  # a missing, unreadable or damaged record is only a reason to look again
        return None

    def write_bad(self, check: Check, bad: Sequence[BadImage]) -> Path | None:
        """Keep what a check has found and return the file that lists it, if there is a place for it."""
        # Names that are no UTF-8 survive as escapes.
        text = json.dumps({"images": len(self.files), "bad": [one._asdict() for one in bad]}, indent=1)
        return self._write(self._record_name(check), lambda partial: partial.write_text(text, "utf-8"))[0]

    def _write(self, name: str, write: Callable[[Path], object]) -> tuple[Path | None, list[str]]:
        """Return the file in the first folder that can be written, and why those before it cannot."""
        reasons: list[str] = []
        for folder in self.folders:
            try:
                with replaced_whole(folder / name) as partial:
                    write(partial)
                return folder / name, reasons
            except (OSError, SafetensorError) as error:
                reasons.append(f"{folder}: {error}")
        return None, reasons

    def _images_name(self) -> str:
        how = f"upright on {self.background}, size {self.size} of {self.shorter}, {self.interpolation}"
        return f"{self._digest(how)}.safetensors"

    def _record_name(self, check: Check) -> str:
        # Another release of Pillow may read other files.
        return f"{self._digest(f'bad at {self.shorter} for Pillow {PIL.__version__}')}.{check}.json"

    def _digest(self, use: str) -> str:
        digest = hashlib.sha256(f"{use}\n".encode())
        for key in self.keys:
            digest.update(key)
        return digest.hexdigest()[:32]
