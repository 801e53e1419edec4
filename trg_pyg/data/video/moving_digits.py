"""Digits that move: clips for the first command and for tests, nothing to download."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from trg_pyg.data.video.video_data import VideoData, VideoSet
from trg_pyg.errors import check_choice, require

Order = Literal["time", "shuffled", "still"]

# Where a digit goes, rows and columns a step; rows count downwards.
DIRECTIONS = {
    "down": (1, 0),
    "down-left": (1, -1),
    "down-right": (1, 1),
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "up-left": (-1, -1),
    "up-right": (-1, 1),
}
_SIDE, _DIGIT, _FASTEST = 32, 16, 3


class MovingDigits(VideoData):
    """One of scikit-learn's digits goes in one of eight directions, with noise; the class is the direction.

    A clip has 8 frames of 32x32. The digit begins anywhere, moves 1 to 3 pixels a frame, and what leaves at one side
    comes in at the other, so that a single frame says nothing of the class. Test clips are of other digits than
    training clips.

    Args:
        clips: training clips, and as many test clips, a multiple of 8: all classes have the same number.
        noise: standard deviation of the noise of each pixel, in shares of the range from black to white, >= 0.
        order: of the frames: ``time``; ``shuffled``, each clip in an order of its own, which shows the axis of the
            movement and hides which of its two ways it goes, 50 % at best; ``still``, one frame all the time, which
            hides all.
        labelled: share of each class of the training clips, in (0, 1), that keeps its labels; the others become the
            unlabelled clips. None keeps all labels.
        imbalance: imbalance factor >= 1, largest class over smallest, of a long-tailed training split; None keeps
            every training clip.
        subset_seed: draws the clips, and chooses those that are held out or keep their labels, and those that a
            long-tailed split takes.
        crop_padding: zeros on each side before the random crop, alike for all frames, >= 0; None stands for 2.
        flip: mirror training clips left to right at random; None stands for no, because it changes the class.
        validation: share of each class of the training clips, in (0, 1), that is held out and takes the place of the
            test clips; None evaluates on the test clips.
        heldout: share of each class of the training clips, in (0, 1), by which the best epoch is chosen, and of which
            methods may learn.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        clips: int = 800,
        noise: float = 0.2,
        order: Order = "time",
        labelled: float | None = None,
        imbalance: float | None = None,
        subset_seed: int = 0,
        crop_padding: int | None = None,
        flip: bool | None = None,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        super().__init__(labelled, imbalance, subset_seed, crop_padding, flip, validation, heldout)
        classes = len(DIRECTIONS)
        require(clips >= classes and clips % classes == 0, f"clips {clips}: give a multiple of {classes}")
        require(math.isfinite(noise) and noise >= 0, f"noise {noise}: give 0 or more")
        check_choice("order", order, ("time", "shuffled", "still"))
        self.clips, self.noise, self.order = clips, noise, order

    def _read(self) -> tuple[VideoSet, VideoSet, tuple[str, ...]]:
        from sklearn.datasets import load_digits  # takes seconds to import

        ink = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 16
        digits = interpolate(ink, size=(_DIGIT, _DIGIT), mode="bilinear", align_corners=False).squeeze(1)
        draws = torch.Generator().manual_seed(self.subset_seed)
        digits = digits[torch.randperm(len(digits), generator=draws)]
        train, test = digits.tensor_split([len(digits) * 4 // 5])
        return self._moving(train, draws), self._moving(test, draws), tuple(DIRECTIONS)

    def _moving(self, digits: Tensor, draws: torch.Generator) -> VideoSet:
        def whole(most: int, *shape: int) -> Tensor:
            return torch.randint(most, shape, generator=draws)

        number, frames = self.clips, 8
        targets = torch.arange(number) % len(DIRECTIONS)
        ways = torch.tensor(list(DIRECTIONS.values()))[targets] * (1 + whole(_FASTEST, number, 1))
        times = torch.arange(frames).expand(number, -1)
        if self.order == "shuffled":
            times = torch.rand(number, frames, generator=draws).argsort(dim=1)
        elif self.order == "still":
            times = whole(frames, number, 1).expand(-1, frames)
        places = whole(_SIDE, number, 1, 2) + ways.unsqueeze(1) * times.unsqueeze(2)  # [N, T, 2]
        rows, columns = (
            (torch.arange(_SIDE) - start.unsqueeze(2)).remainder(_SIDE) for start in places.unbind(2)
        )  # [N, T, side]
        canvas = pad(digits[whole(len(digits), number)], (0, _SIDE - _DIGIT, 0, _SIDE - _DIGIT)).flatten(1)
        at = (rows.unsqueeze(3) * _SIDE + columns.unsqueeze(2)).flatten(1)
        moved = canvas.gather(1, at).view(number, 1, frames, _SIDE, _SIDE)
        moved = moved + self.noise * torch.randn(moved.shape, generator=draws)
        return VideoSet((255 * moved).round().clamp(0, 255).to(torch.uint8).repeat(1, 3, 1, 1, 1), targets)
