"""Random crop and flip of a whole batch at once."""

import numpy as np
import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.data._views import seeds_of
from trg_pyg.errors import require


class Augment:
    """Zero padding, random crop back to the size, then random horizontal flip; drawn for each image on its own.

    Of a clip, [C, T, H, W] in the place of an image [C, H, W], all frames are moved alike.

    Drawing and moving pixels are two steps, so that processes which share a batch draw alike and each moves only its
    own images. Only two offsets and a coin per image go from the CPU to the device where the images are.

    Args:
        crop_padding: zeros on each side before the crop, >= 0; the offsets are uniform over the 2p + 1 positions of
            each axis. 0 leaves the crop out.
        flip: mirror each image left to right with probability 1/2.

    Raises:
        InputError: ``crop_padding`` is negative.
    """

    def __init__(self, crop_padding: int, flip: bool) -> None:
        require(crop_padding >= 0, f"crop_padding {crop_padding} is negative; 0 leaves the random crop out")
        self.crop_padding = crop_padding
        self.flip = flip

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch: :meth:`draw` for each of its images, then :meth:`apply`.

        Args:
            images: uint8 [B, C, H, W], on any device; not changed.
            generator: CPU generator; advanced as by :meth:`draw`.

        Returns:
            uint8 [B, C, H, W]; ``images`` itself when neither crop nor flip is asked for.
        """
        return self.apply(images, self.draw(len(images), generator))

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw what happens to each image of a batch.

        Args:
            batch_size: B, number of images.
            generator: CPU generator; advanced by the draws (offsets first, then flips), the same on every device.

        Returns:
            int64 [B, 3] on the CPU, a row an image: how far down and to the right its crop lies, both in
            [-crop_padding, crop_padding], and 1 where it is mirrored, else 0.
        """
        draws = torch.zeros(3, batch_size, dtype=torch.int64)
        if self.crop_padding:
            draws[:2].random_(0, 2 * self.crop_padding + 1, generator=generator).sub_(self.crop_padding)
        if self.flip:
            draws[2].random_(0, 2, generator=generator)
        return draws.T.contiguous()  # part of it is sent to a GPU, in the background only if it is in one piece

    @property
    def views(self) -> int:
        """How many different views of an image there are."""
        return (2 * self.crop_padding + 1) ** 2 * (1 + self.flip)

    def number(self, draws: Tensor) -> Tensor:
        """Return the number of each drawn view, int64 [B], in [0, views)."""
        down, right, mirrored = draws.unbind(1)
        side, padding = 2 * self.crop_padding + 1, self.crop_padding
        return ((down + padding) * side + right + padding) * (1 + self.flip) + mirrored

    def view(self, numbers: Tensor) -> Tensor:
        """Return what is drawn for views of these numbers, int64 [B, 3]: the inverse of :meth:`number`."""
        side, ways = 2 * self.crop_padding + 1, 1 + self.flip
        crop = numbers // ways
        return torch.stack([crop // side - self.crop_padding, crop % side - self.crop_padding, numbers % ways], dim=1)

    def fixed(self, slots: Tensor) -> Tensor:
        """Return what is drawn once and for all for each slot, int64 [B, 3]."""
        return self.view(seeds_of(slots, 0) % self.views)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Move the pixels of each image as it was drawn.

        Args:
            images: uint8 [B, C, H, W], on any device; not changed.
            draws: int64 [B, 3] on the CPU, rows of :meth:`draw`.

        Returns:
            uint8 [B, C, H, W]; ``images`` itself when neither crop nor flip is asked for.
        """
        if not self.crop_padding and not self.flip:
            return images
        if images.dim() == 5:  # the frames of a clip are moved as the channels of an image are
            return self.apply(images.flatten(1, 2), draws).view_as(images)
        if images.device.type == "cpu":
            return self._slice(images, draws)
        return _gather(images, to_device(draws, images.device))

    def apply_to_labels(self, labels: Tensor, draws: Tensor) -> Tensor:
        """Return the labels of images that were moved as it was drawn: those of whole images stay as they are."""
        return labels

    def _slice(self, images: Tensor, draws: Tensor) -> Tensor:
        # One slice an image, in NumPy: on a CPU the gather reads eight bytes of index for each byte of pixel, and a
        # slice in torch costs more than copying a small image does.
        batch, channels, height, width = images.shape
        padding, padded = self.crop_padding, images.numpy()
        if padding:
            padded = np.zeros((batch, channels, height + 2 * padding, width + 2 * padding), np.uint8)
            padded[:, :, padding : padding + height, padding : padding + width] = images.numpy()
        moved = torch.empty(images.shape, dtype=torch.uint8)
        for image, source, (down, right, mirrored) in zip(moved.numpy(), padded, draws.tolist(), strict=True):
            top, left = padding + down, padding + right
            cut = source[:, top : top + height, left : left + width]
            image[:] = cut[:, :, ::-1] if mirrored else cut
        return moved


def _gather(images: Tensor, draws: Tensor) -> Tensor:
    """Move all pixels at once, in a fixed number of kernels; ``draws`` are on the device of ``images``."""
    batch, channels, height, width = images.shape
    down, right, mirrored = draws.unsqueeze(2).unbind(1)
    rows = torch.arange(height, device=images.device) + down
    columns = torch.arange(width, device=images.device)
    columns = torch.where(mirrored.bool(), width - 1 - columns, columns) + right
    inside = _within(rows, height).unsqueeze(2) & _within(columns, width).unsqueeze(1)
    source = rows.clamp(0, height - 1).unsqueeze(2) * width + columns.clamp(0, width - 1).unsqueeze(1)
    index = source.view(batch, 1, -1).expand(-1, channels, -1)
    moved = images.flatten(2).gather(2, index).view(images.shape)
    return moved.mul_(inside.unsqueeze(1))


def _within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)
