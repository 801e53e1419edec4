"""Write photographs that move over other photographs, composed of CIFAR-100, as clips in plain files.

    python experiments/data/moving_images.py data/cifar100 data/moving_images

What is seen is real, the movement is not: a photograph, shrunk to 16x16 pixels, goes in one of eight directions over
another one, which stands still, 1 to 3 pixels a frame. What leaves at one side comes in at the other, so that a single
frame says nothing of the class, which is the direction. A clip has 8 frames of 32x32. Training clips are made of
training images alone, test clips of test images, and all classes have the same number of them.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.data._common import check_new, run, write_clip
from trg_pyg._files import made_whole
from trg_pyg.data.video.moving_digits import DIRECTIONS
from trg_pyg.errors import require

FRAMES, SIDE, SMALL, FASTEST = 8, 32, 16, 3

Array = np.ndarray[Any, Any]


def write(source: Path, target: Path, train: int = 1600, test: int = 800, seed: int = 0) -> str:
    """Write ``target/train/<direction>/<clip>/<frame>.png`` and ``target/test/...``, and return what was written.

    Args:
        source: folder with images, ``train/<class>/*.png`` and ``test/<class>/*.png``.
        target: folder to make.
        train: training clips, a multiple of 8.
        test: test clips, a multiple of 8.
        seed: chooses images, places and speeds.

    Raises:
        InputError: the target is there, a number is no such multiple, or the source has fewer than two images.
    """
    check_new(target)
    numbers = {"train": train, "test": test}
    files: dict[str, list[Path]] = {}
    for split, number in numbers.items():
        require(number > 0 and number % len(DIRECTIONS) == 0, f"{split}={number}: give a multiple of {len(DIRECTIONS)}")
        files[split] = sorted((source / split).glob("*/*.png"))
        require(
            len(files[split]) > 1,
            f"{source}/{split} has {len(files[split])} images in folders of classes and a clip takes two; give the "
            "folder that cifar_folder.py writes",
        )
    draws = random.Random(seed)
    with made_whole(target) as folder:
        for split, number in numbers.items():
            for clip in range(number):
                name = list(DIRECTIONS)[clip % len(DIRECTIONS)]
                over, below = draws.sample(files[split], 2)
                frames = moving(_photograph(over, SMALL), _photograph(below, SIDE), DIRECTIONS[name], draws)
                write_clip(folder / split / name / f"{clip:04}", frames)
    return f"{train + test:,} clips in {target}"


def moving(over: Array, below: Array, way: tuple[int, int], draws: random.Random) -> Iterator[Array]:
    """Give the frames of an image ``[16, 16, 3]`` that goes over another one, ``[32, 32, 3]``."""
    place, speed = (draws.randrange(SIDE), draws.randrange(SIDE)), draws.randint(1, FASTEST)
    for time in range(FRAMES):
        rows, columns = (
            (np.arange(SMALL) + start + speed * time * step) % SIDE for start, step in zip(place, way, strict=True)
        )
        frame = below.copy()
        frame[np.ix_(rows, columns)] = over
        yield frame


def _photograph(file: Path, side: int) -> Array:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX))


if __name__ == "__main__":
    sys.exit(run(write))
