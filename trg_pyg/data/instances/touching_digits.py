"""Scenes of touching digits, made of those that come with scikit-learn: nothing to download."""

import numpy as np
import torch
import torch.nn.functional as F

from trg_pyg.data.instances.instance_data import InstanceData, InstanceSet
from trg_pyg.data.splits.holdout import holdout_indices

SIDE = 64
_TRAIN, _TEST = 200, 100
_MOST = 9  # digits of a scene
_TRIES = 40  # places that are tried for a digit
_EDGE = 0.2  # ink of the pixels that belong to a digit, at the least


class TouchingDigits(InstanceData):
    """300 scenes of 64x64 pixels, each of 3 to 9 handwritten digits that touch but do not cover each other.

    Instances are the digits; which ones they are is not asked. 200 scenes are for training; the digits of the 100 for
    testing, a fifth of each class, are in none of them. Digits have brightnesses of their own, 16 to 24 pixels, and
    there is noise. The scenes are always the same, whatever ``subset_seed`` is.

    Args:
        subset_seed: chooses the scenes that are held out.
        validation: share of the training scenes, in (0, 1), that is held out and takes the place of the test scenes;
            None evaluates on the test scenes.
        heldout: share of the training scenes, in (0, 1), by which the best epoch is chosen, and of which methods may
            learn.
    """

    def _read(self) -> tuple[InstanceSet, InstanceSet, tuple[str, ...]]:
        from sklearn.datasets import load_digits  # takes seconds to import

        bunch = load_digits()
        held = torch.zeros(len(bunch.target), dtype=torch.bool)
        held[holdout_indices(torch.from_numpy(bunch.target).long(), tuple(map(str, range(10))), 0.2, 0)] = True
        ink = torch.from_numpy(bunch.images).float() / 16
        return _scenes(ink[~held], _TRAIN, seed=0), _scenes(ink[held], _TEST, seed=1), self.classes


def _scenes(digits: torch.Tensor, number: int, seed: int) -> InstanceSet:
    draws = np.random.default_rng(seed)
    scenes, maps = zip(*(_scene(digits, draws) for _ in range(number)), strict=True)
    images = torch.from_numpy(np.stack(scenes))
    return InstanceSet(images[:, None].repeat(1, 3, 1, 1), torch.from_numpy(np.stack(maps)))


def _scene(digits: torch.Tensor, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, uint8, and its label map, int64, each of SIDE x SIDE."""
    light = np.zeros((SIDE, SIDE), np.float32)
    labels = np.zeros((SIDE, SIDE), np.int64)
    for digit in draws.choice(len(digits), draws.integers(4, _MOST + 1), replace=False):
        side = int(draws.integers(16, 25))
        large = F.interpolate(digits[digit][None, None], size=(side, side), mode="bilinear")[0, 0].numpy()
        ink = large > _EDGE
        place = _place(labels > 0, ink, draws)
        if place is None:
            continue
        window = slice(place[0], place[0] + side), slice(place[1], place[1] + side)
        light[window] += np.where(ink, large * draws.uniform(0.5, 1.0), 0)
        labels[window] += np.where(ink, labels.max() + 1, 0)
    noisy = 0.15 + 0.75 * light + draws.normal(0, 0.05, light.shape)
    return (255 * noisy.clip(0, 1)).round().astype(np.uint8), labels


def _place(taken: np.ndarray, ink: np.ndarray, draws: np.random.Generator) -> tuple[int, int] | None:
    """Return the top and left of a place where ink covers nothing and has the longest border with what is there."""
    beside = taken.copy()
    for axis in (0, 1):
        for step in (1, -1):
            beside |= np.roll(taken, step, axis)
    side, best, found = len(ink), -1, None
    for top, left in draws.integers(0, SIDE - side + 1, (_TRIES, 2)).tolist():
        window = slice(top, top + side), slice(left, left + side)
        border = int((beside[window] & ink).sum())
        if not (taken[window] & ink).any() and border > best:
            best, found = border, (top, left)
    return found
