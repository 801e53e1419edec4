"""Write scenes with objects to find, composed of photographs of CIFAR-100, as images and boxes in plain files.

    python experiments/data/scenes.py data/cifar100 data/scenes

What is seen is real, the scenes are not: up to six photographs of five classes, 16 to 40 pixels wide, are pasted on a
photograph of another class, which is enlarged to 128x128. A box goes round a photograph, not round what it shows. Two
of them share at most a fifth of the smaller one. Training scenes are made of training images alone, test scenes of test
images.
"""

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from experiments.data._common import check_new, run, write_boxes
from trg_pyg._files import made_whole
from trg_pyg.errors import require

CLASSES = ("keyboard", "motorcycle", "orange", "sunflower", "wardrobe")  # unlike one another
OTHER = "another class"
SIDE, SMALLEST, LARGEST = 128, 16, 40
FEWEST, MOST = 2, 6  # objects that are drawn for a scene
SHARED = 0.2  # of the smaller of two objects, at most
TRIES = 20  # places that are tried for an object


def write(source: Path, target: Path, train: int = 400, test: int = 150, seed: int = 0) -> str:
    """Write ``train`` and ``test``, each with ``images`` and ``boxes.json``, and return what was written.

    Args:
        source: folder with images, ``train/<class>/*.png`` and ``test/<class>/*.png``.
        target: folder to make.
        train: training scenes.
        test: test scenes.
        seed: chooses images, places and sizes.

    Raises:
        InputError: the target is there, a number is below 1, or the source lacks a class or has no other one.
    """
    check_new(target)
    numbers = {"train": train, "test": test}
    files: dict[str, dict[str, list[Path]]] = {}
    for split, number in numbers.items():
        require(number > 0, f"{split}={number}: give 1 or more")
        files[split] = {name: sorted((source / split / name).glob("*.png")) for name in CLASSES}
        files[split][OTHER] = sorted(
            file for file in (source / split).glob("*/*.png") if file.parent.name not in CLASSES
        )
        for name, found in files[split].items():
            require(
                bool(found),
                f"{source}/{split} has no images of {name}, and scenes are made of {', '.join(CLASSES)} and "
                f"{OTHER}; give the folder that cifar_folder.py writes",
            )
    draws = random.Random(seed)
    with made_whole(target) as folder:
        counts = [
            write_boxes(folder / split, _scenes(files[split], number, draws), CLASSES)
            for split, number in numbers.items()
        ]
    scenes, objects = map(sum, zip(*counts, strict=True))
    return f"{scenes:,} scenes with {objects:,} objects in {target}"


def _scenes(
    files: Mapping[str, Sequence[Path]], number: int, draws: random.Random
) -> Iterator[tuple[str, Image.Image, list[dict[str, Any]]]]:
    """Give the name, the image and the boxes of each scene."""
    for scene in range(number):
        image = _photograph(draws.choice(files[OTHER]), SIDE)
        squares: list[tuple[int, int, int]] = []
        boxes: list[dict[str, Any]] = []
        for _ in range(draws.randint(FEWEST, MOST)):
            category, side = draws.randrange(len(CLASSES)), draws.randint(SMALLEST, LARGEST)
            corner = place(side, squares, draws)
            if corner is None:
                continue
            image.paste(_photograph(draws.choice(files[CLASSES[category]]), side), corner)
            squares.append((*corner, side))
            boxes.append({"category_id": category, "bbox": [*corner, side, side], "iscrowd": 0})
        yield f"{scene:04}.png", image, boxes


def place(side: int, squares: Sequence[tuple[int, int, int]], draws: random.Random) -> tuple[int, int] | None:
    """Return left and top of a square that covers little of others; None where none of those tried does.

    Args:
        side: of the square, in pixels.
        squares: left, top and side of those that are there.
        draws: chooses places.
    """
    for _ in range(TRIES):
        corner = draws.randint(0, SIDE - side), draws.randint(0, SIDE - side)
        if all(_shared((*corner, side), other) <= SHARED * min(side, other[2]) ** 2 for other in squares):
            return corner
    return None


def _shared(one: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    """Return how many pixels two squares share."""
    width, height = (max(0, min(one[at] + one[2], other[at] + other[2]) - max(one[at], other[at])) for at in (0, 1))
    return width * height


def _photograph(file: Path, side: int) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)


if __name__ == "__main__":
    sys.exit(run(write))
