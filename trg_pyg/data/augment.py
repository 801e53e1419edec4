"""Random crop and flip of a whole batch at once."""

import torch
from torch import Tensor

from trg_pyg.data._transfer import to_device
from trg_pyg.errors import require


class Augment:
    """Zero padding, random crop back to the size, then random horizontal flip; drawn for each image on its own.

    The pixels are moved in one gather on the device where the images are; only two offsets and a coin per image come
    from the CPU.

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
        """Augment a batch.

        Args:
            images: uint8 [B, 3, H, W], on any device; not changed.
            generator: CPU generator; advanced by the draws (offsets first, then flips), the same on every device.

        Returns:
            uint8 [B, 3, H, W]; ``images`` itself when neither crop nor flip is asked for.
        """
        if not self.crop_padding and not self.flip:
            return images
        batch, channels, height, width = images.shape
        draws = torch.zeros(3, batch, 1, dtype=torch.int64)
        if self.crop_padding:
            draws[:2].random_(0, 2 * self.crop_padding + 1, generator=generator).sub_(self.crop_padding)
        if self.flip:
            draws[2].random_(0, 2, generator=generator)
        down, right, mirrored = to_device(draws, images.device)

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
