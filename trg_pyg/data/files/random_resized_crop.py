"""ImageNet's training augmentation, drawn for one image at a time while it is decoded."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trg_pyg._size import Size, sides
from trg_pyg.data.files._decode import FILTERS, WHITE, Colour, Interpolation, opened, shrink, to_rgb, upright_size
from trg_pyg.errors import require

_TRIES = 10
Box = tuple[int, int, int, int]  # left, top, width, height


class RandomResizedCrop:
    """Random crop of random area and aspect ratio, resized to a square (antialiased), then random flip.

    The crop is torchvision's: the area is uniform in ``scale``, the ratio log-uniform in ``ratio``; after ten boxes
    that do not fit into the image, the largest centred one whose ratio is allowed. It takes whole images, hence works
    on a :class:`~trg_pyg.data.files.file_set` only.

    Args:
        flip: mirror each image left to right with probability 1/2.
        scale: smallest and largest share of the image's area, 0 < smallest <= largest <= 1.
        ratio: smallest and largest width over height, 0 < smallest <= largest.
        scaled: have :meth:`read` decode a JPEG at 1/2, 1/4 or 1/8 of its sides where the box then still has the pixels
            of the result in both directions. The boxes are the same and the pixels differ slightly.

    Raises:
        InputError: ``scale`` or ``ratio`` is out of its range.
    """

    def __init__(
        self,
        flip: bool = True,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        scaled: bool = False,
    ) -> None:
        require(
            0 < scale[0] <= scale[1] <= 1, f"scale {scale}: give two shares of the area, 0 < smallest <= largest <= 1"
        )
        require(0 < ratio[0] <= ratio[1] < math.inf, f"ratio {ratio}: give two positive numbers, the smaller one first")
        self.flip = flip
        self.scale = scale
        self.ratio = ratio
        self.scaled = scaled

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
        return self._cut(rgb, self.box(*rgb.size, generator), size, generator, interpolation)

    def read(
        self,
        file: Path,
        size: Size,
        generator: torch.Generator,
        interpolation: Interpolation = "bilinear",
        background: Colour = WHITE,
    ) -> np.ndarray:
        """Augment the image in a file.

        Args:
            file: of an image, which becomes RGB and is turned upright.
            size: as of a call.
            generator: as of a call.
            interpolation: as of a call.
            background: colour below what is transparent.

        Returns:
            uint8 [3, H, W].

        Raises:
            Exception: of many classes, the file cannot be read or is no image that RGB can be made of.
        """
        rows, columns = sides(size)
        with opened(file) as (image, _):
            whole = upright_size(image) if self.scaled else None
            box, times = None, 1
            if whole is not None:
                box = self.box(*whole, generator)
                times = shrink(image, min(box[2] / columns, box[3] / rows))
            rgb = to_rgb(image, background)
        return self._cut(rgb, box or self.box(*rgb.size, generator), size, generator, interpolation, times)

    def _cut(
        self,
        rgb: Image.Image,
        box: Box,
        size: Size,
        generator: torch.Generator,
        interpolation: Interpolation,
        times: int = 1,
    ) -> np.ndarray:
        """Cut a box out of an image that is so many times smaller than the box was drawn for."""
        mirrored = self.flip and torch.rand((), generator=generator).item() < 0.5
        rows, columns = sides(size)
        left, top, right, bottom = (side / times for side in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
        # Cut before resizing: the filter must not reach over the edge of the box.
        x, y = math.floor(left), math.floor(top)
        part = rgb.crop((x, y, math.ceil(right), math.ceil(bottom)))
        cut = part.resize((columns, rows), FILTERS[interpolation], (left - x, top - y, right - x, bottom - y))
        pixels = np.asarray(cut).transpose(2, 0, 1)
        return pixels[:, :, ::-1] if mirrored else pixels

    def box(self, width: int, height: int, generator: torch.Generator) -> Box:
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
