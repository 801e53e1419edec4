"""Write tree crowns from the air, which a package carries, as images and boxes in plain files.

    pip install --no-deps --target elsewhere deepforest==2.1.0
    python experiments/data/trees.py elsewhere data/trees

``train`` and ``test`` are two images of Yellowstone by the NEON airborne platform, which deepforest carries (MIT), in
tiles of 160 pixels; what is left at the right and below is cut off. The boxes were drawn by hand, and not all: some
trees are lacking, and some boxes are far smaller than their crowns. There is one class, and few tiles to test on, so
give scores with the range of several seeds.

A box is of the tile that its centre is in, cut at the border. Its parts in other tiles are marked as crowds: they are
neither learnt nor counted.
"""

import sys
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.data._common import check_files, check_new, run, write_boxes
from trg_pyg._files import made_whole

SIDE = 160
TRAIN, TEST = (
    f"deepforest/data/2019_YELL_2_{name}" for name in ("528000_4978000_image_crop2", "541000_4977000_image_crop")
)
SHA256 = {
    f"{TRAIN}.png": "a9bdb0f4447fdd899d22f567e0e20ba8320c5413b2ad0cd0ac8d9f3b6e0f9767",
    f"{TRAIN}.xml": "bd431af6a5086d721eb731b22f5ea28cd8a8eab06883efc1c665391acbc68e11",
    f"{TEST}.png": "178e58a23cc2642226a364a30f71bd9258ddc1b012c826f12250914a90c7a131",
    f"{TEST}.xml": "cefe4b96888bacbf8af1674f000082e549aa707aa6590d545effb23e43f26631",
}

Array = np.ndarray[Any, Any]


def read_corners(file: Path) -> Array:
    """Return left, top, right and bottom of each box of a Pascal VOC file, whose pixels count from 1, ``[n, 4]``."""
    names = ("xmin", "ymin", "xmax", "ymax")
    boxes = [[float(item.findtext(f"bndbox/{name}", "")) for name in names] for item in xml.parse(file).iter("object")]
    return np.array(boxes).reshape(-1, 4) - (1, 1, 0, 0)


def tile(corners: Array, left: int, top: int) -> list[tuple[list[float], bool]]:
    """Return the boxes of a tile, left, top, width and height in it, and whether their centre is in another."""
    first = np.array([left, top])
    low, high = (corners[:, part] - first for part in (slice(0, 2), slice(2, 4)))
    centre = (low + high) / 2
    own = ((centre >= 0) & (centre < SIDE)).all(1)
    low, high = low.clip(0, SIDE), high.clip(0, SIDE)
    there = (high > low).all(1)
    return [
        ([*start.tolist(), *(end - start).tolist()], not inside)
        for start, end, inside in zip(low[there], high[there], own[there].tolist(), strict=True)
    ]


def write(packages: Path, target: Path) -> str:
    """Write ``train`` and ``test``, each with ``images`` and ``boxes.json``, and return what was written.

    Args:
        packages: folder that the package was installed to.
        target: folder to make.

    Raises:
        InputError: the target is there, or a file of a package is missing or another one.
    """
    check_new(target)
    check_files(packages, SHA256)
    with made_whole(target) as folder:
        parts = {"train": TRAIN, "test": TEST}
        counts = {part: write_boxes(folder / part, _tiles(packages / name), ["tree"]) for part, name in parts.items()}
    return ", ".join(f"{part}: {tiles} tiles with {trees} trees" for part, (tiles, trees) in counts.items())


def _tiles(source: Path) -> Iterator[tuple[str, Image.Image, list[dict[str, Any]]]]:
    """Give the name, the image and the boxes of each tile of an image."""
    image = Image.open(source.with_name(f"{source.name}.png")).convert("RGB")
    corners = read_corners(source.with_name(f"{source.name}.xml"))
    for top in range(0, image.height - SIDE + 1, SIDE):
        for left in range(0, image.width - SIDE + 1, SIDE):
            boxes = [{"category_id": 0, "bbox": box, "iscrowd": int(other)} for box, other in tile(corners, left, top)]
            yield f"{top:04}_{left:04}.png", image.crop((left, top, left + SIDE, top + SIDE)), boxes


if __name__ == "__main__":
    sys.exit(run(write))
