"""ImageNet's training augmentation, drawn for one image at a time while it is decoded."""

import math

import numpy as np
import torch
from PIL import Image

from trg_pyg._size import Size, sides
from trg_pyg.data._decode import FILTERS, Interpolation
from trg_pyg.errors import require

_TRIES = 10


class RandomResizedCrop:
    """Random crop of random area and aspect ratio, resized to a square (antialiased), then random flip.

    The crop is torchvision's: the area is uniform in ``scale``, the ratio log-uniform in ``ratio``; after ten boxes
    that do not fit into the image, the largest centred one whose ratio is allowed. It takes whole images, hence works
    on a :class:`~trg_pyg.data.file_set.FileSet` only.

    Args:
        flip: mirror each image left to right with probability 1/2.
        scale: smallest and largest share of the image's area, 0 < smallest <= largest <= 1.
        ratio: smallest and largest width over height, 0 < smallest <= largest.

    Raises:
        InputError: ``scale`` or ``ratio`` is out of its range.
    """

    def __init__(
        self, flip: bool = True, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
    ) -> None:
        require(
            0 < scale[0] <= scale[1] <= 1, f"scale {scale}: give two shares of the area, 0 < smallest <= largest <= 1"
        )
        require(0 < ratio[0] <= ratio[1] < math.inf, f"ratio {ratio}: give two positive numbers, the smaller one first")
        self.flip = flip
        self.scale = scale
        self.ratio = ratio

    def __call__(
        self, rgb: Image.Image, size: Size, generator: torch.Generator, interpolation: Interpolation = "bilinear"
    ) -> np.ndarray:
        """Augment an image.

        Args:
            rgb: of any size; not changed.
            size: side of the result, or height and width.
            generator: CPU generator of this image; advanced by the same number of draws whatever becomes of them.
            interpolation: by which the crop is resized.

        Returns:
            uint8 [3, H, W].
        """
        left, top, width, height = self.box(*rgb.size, generator)
        mirrored = self.flip and torch.rand((), generator=generator).item() < 0.5
        rows, columns = sides(size)
        # Cut before resizing: the filter must not reach over the edge of the box.
        cut = rgb.crop((left, top, left + width, top + height)).resize((columns, rows), FILTERS[interpolation])
        pixels = np.asarray(cut).transpose(2, 0, 1)
        return pixels[:, :, ::-1] if mirrored else pixels

    def box(self, width: int, height: int, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Draw left, top, width and height of the crop out of an image of ``width`` x ``height``."""
        low, high = map(math.log, self.ratio)
        for area, shape, right, down in torch.rand(_TRIES, 4, generator=generator, dtype=torch.float64).tolist():
            pixels = width * height * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + shape * (high - low))
            w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(right * (width - w + 1)), int(down * (height - h + 1)), w, h
        w = min(width, max(round(height * self.ratio[1]), 1))
        h = min(height, max(round(width / self.ratio[0]), 1))
        return (width - w) // 2, (height - h) // 2, w, h
