"""Scenes with digits of several sizes, made of those that come with scikit-learn: nothing to download."""

import numpy as np
import torch
import torch.nn.functional as F

from trg_pyg.data.detection.detection_data import DetectionData, DetectionSet, padded
from trg_pyg.data.splits.holdout import holdout_indices

SIDE = 64
CLASSES = ("0", "1", "4")  # unlike one another, so that few scenes are enough to learn them
_TRAIN, _TEST = 200, 100
_SMALL, _LARGE = (8, 13), (14, 33)  # pixels of a digit's height: from, and up to but without
_EDGE = 0.2  # ink of the pixels that a box goes round, at the least
_TRIES = 20  # places that are tried for a digit


class PastedDigits(DetectionData):
    """300 scenes of 64x64 pixels, each with up to 8 handwritten digits of 8 to 32 pixels, apart from one another.

    Half of the scenes have small digits alone, up to 12 pixels. Around them are strokes, noise and a background that
    brightens from one side to the other. Classes are the digits 0, 1 and 4. 200 scenes are for training; the digits of
    the 100 for testing, a fifth of each class, are in none of them. The scenes are always the same, whatever
    ``subset_seed`` is, and are not mirrored: digits are no longer the same then.

    Args:
        subset_seed: chooses the scenes that are held out.
        validation: share of the training scenes, in (0, 1), that is held out and takes the place of the test scenes;
            None evaluates on the test scenes.
        heldout: share of the training scenes, in (0, 1), by which the best epoch is chosen, and of which methods may
            learn.
    """

    def __init__(self, subset_seed: int = 0, validation: float | None = None, heldout: float | None = None) -> None:
        super().__init__(subset_seed, False, validation, heldout)

    def _read(self) -> tuple[DetectionSet, DetectionSet, tuple[str, ...]]:
        from sklearn.datasets import load_digits  # takes seconds to import

        bunch = load_digits()
        taken = np.isin(bunch.target, [int(name) for name in CLASSES])
        classes = torch.from_numpy(np.searchsorted([int(name) for name in CLASSES], bunch.target[taken]))
        held = torch.zeros(len(classes), dtype=torch.bool)
        held[holdout_indices(classes, CLASSES, 0.2, 0)] = True
        ink = torch.from_numpy(bunch.images[taken]).float() / 16
        train, test = (
            _scenes(ink[part], classes[part], number, seed)
            for part, number, seed in ((~held, _TRAIN, 0), (held, _TEST, 1))
        )
        return train, test, CLASSES


def _scenes(digits: torch.Tensor, classes: torch.Tensor, number: int, seed: int) -> DetectionSet:
    draws = np.random.default_rng(seed)
    scenes, boxes = zip(*(_scene(digits, classes, at % 2 == 0, draws) for at in range(number)), strict=True)
    images = torch.from_numpy(np.stack(scenes))
    return DetectionSet(images[:, None].repeat(1, 3, 1, 1), padded([torch.tensor(each) for each in boxes]))


def _scene(
    digits: torch.Tensor, classes: torch.Tensor, small: bool, draws: np.random.Generator
) -> tuple[np.ndarray, list[list[float]]]:
    """Return an image, uint8 ``[SIDE, SIDE]``, and its boxes."""
    slope = np.linspace(0, draws.uniform(0, 0.3), SIDE, dtype=np.float32)
    light = 0.1 + (slope if draws.random() < 0.5 else slope[::-1])[None].repeat(SIDE, 0)
    for _ in range(draws.integers(2, 6)):
        _add_stroke(light, draws)
    taken, boxes = np.zeros((SIDE, SIDE), bool), []
    for digit in draws.choice(len(digits), draws.integers(3, 9), replace=False):
        side = int(draws.integers(*(_SMALL if small else _LARGE)))
        ink = F.interpolate(digits[digit][None, None], size=(side, side), mode="bilinear")[0, 0].numpy()
        rows, columns = (np.flatnonzero((ink > _EDGE).any(axis)) for axis in (1, 0))
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        place = _place(taken, ink.shape, draws)
        if place is None:
            continue
        (top, left), (height, width) = place, ink.shape
        window = slice(top, top + height), slice(left, left + width)
        light[window] = np.maximum(light[window], ink * draws.uniform(0.7, 1.0))
        taken[window] = True
        corners = (left, top, left + width, top + height)
        boxes.append([*(corner / SIDE for corner in corners), float(classes[digit]), 0.0])
    noisy = light + draws.normal(0, 0.05, light.shape)
    return (255 * noisy.clip(0, 1)).round().astype(np.uint8), boxes


def _add_stroke(light: np.ndarray, draws: np.random.Generator) -> None:
    """Draw a straight line of a pixel's width, which is no digit."""
    (row, column), (down, right) = draws.uniform(0, SIDE, 2), draws.uniform(-16, 16, 2)
    steps = np.linspace(0, 1, 32)
    places = ((row + down * steps).astype(int) % SIDE, (column + right * steps).astype(int) % SIDE)
    light[places] = draws.uniform(0.3, 0.7)


def _place(taken: np.ndarray, shape: tuple[int, ...], draws: np.random.Generator) -> tuple[int, int] | None:
    """Return the top and left of a place that nothing has taken, None where none of those tried is one."""
    height, width = shape
    for _ in range(_TRIES):
        top, left = int(draws.integers(0, SIDE - height + 1)), int(draws.integers(0, SIDE - width + 1))
        if not taken[top : top + height, left : left + width].any():
            return top, left
    return None
