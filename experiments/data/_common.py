"""What the scripts here share: refusing a target and the files of packages, clips, boxes, and a command line."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import auto_cli
from PIL import Image

from trg_pyg.cli._exit import exit_code_of
from trg_pyg.errors import require


def check_new(target: Path) -> None:
    """Refuse a target that is there already.

    Raises:
        InputError: it is.
    """
    require(not target.exists(), f"{target} is there already; give another folder, or remove it to write it again")


def check_files(packages: Path, sha256: Mapping[str, str]) -> None:
    """Refuse packages whose files are not those that a script was written for.

    Args:
        packages: folder that they were installed to.
        sha256: hash of each file, by its path in that folder.

    Raises:
        InputError: a file is missing or has another hash.
    """
    for name, known in sha256.items():
        file = packages / name
        require(
            file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == known,
            f"{file} is missing or another file; the first lines of the script say what to install",
        )


def write_clip(folder: Path, frames: Iterable[np.ndarray[Any, Any]]) -> None:
    """Write frames, uint8 ``[H, W]`` or ``[H, W, 3]``, as ``folder/00.png``, ``01.png`` and so on."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:02}.png")


def write_boxes(
    folder: Path, images: Iterable[tuple[str, Image.Image, list[dict[str, Any]]]], classes: Sequence[str]
) -> tuple[int, int]:
    """Write ``folder/images/<name>`` and ``folder/boxes.json``, and return how many images and boxes there are.

    Args:
        folder: to make.
        images: name, image and boxes of each; a box has ``category_id``, ``bbox`` and ``iscrowd`` as COCO has them.
            Crowds are not counted.
        classes: names, in the order of ``category_id``.
    """
    (folder / "images").mkdir(parents=True)
    listed: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, (name, image, of_image) in enumerate(images):
        image.save(folder / "images" / name)
        listed.append({"id": number, "file_name": name, "width": image.width, "height": image.height})
        boxes += [{"id": at, "image_id": number} | box for at, box in enumerate(of_image, len(boxes))]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
    content = {"images": listed, "annotations": boxes, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content) + "\n")
    return len(listed), sum(not box["iscrowd"] for box in boxes)


def run(write: Callable[..., str]) -> int:
    """Call a function with what a command line gives, print the line that it returns, and return the exit code.

    Args:
        write: its parameters and their descriptions are those of the command line.
    """
    return exit_code_of(lambda: print(auto_cli(write)), Path(sys.argv[0]).name)
