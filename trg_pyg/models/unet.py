"""Networks that answer for each pixel: residual U-Nets."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from trg_pyg.errors import require

# Width of the vector that each pixel has: pixels of one instance are to have like ones, see trg_pyg.losses.affinity.
PIXEL_EMBEDDING = 16


def unet(num_classes: int = 2, widths: Sequence[int] = (16, 32, 64, 128)) -> "UNet":
    """A U-Net of residual double convolutions (Ronneberger et al., arXiv 1505.04597; He et al., arXiv 1512.03385).

    Each pixel has a logit of each class, then ``PIXEL_EMBEDDING`` numbers, its embedding. Images of any size: they
    are continued by their last pixels to a multiple of what the levels halve.

    Args:
        num_classes: classes of a pixel.
        widths: channels of each level, the one of full size first; each of the others has half the grid.

    Returns:
        A network whose default taps are its levels from the coarsest to the one of full size.

    Raises:
        InputError: there are fewer than two levels, or one has no channel.
    """
    require(
        len(widths) >= 2 and min(widths) >= 1, f"unet widths {list(widths)}: give two levels or more, of 1 channel each"
    )
    return UNet(num_classes, tuple(widths))


class UNet(nn.Module):
    """See :func:`unet`, whose arguments these are."""

    def __init__(self, num_classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(_Block(*each) for each in pairwise((3, *widths)))
        self.up = nn.ModuleList(_Block(coarse + fine, fine) for fine, coarse in pairwise(widths))
        self.head = nn.Conv2d(widths[0], num_classes + PIXEL_EMBEDDING, 1)
        self.default_taps = (f"down.{len(widths) - 1}", *(f"up.{level}" for level in reversed(range(len(self.up)))))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits and embedding of each pixel, ``[B, num_classes + PIXEL_EMBEDDING, H, W]``."""
        height, width = images.shape[2:]
        multiple = 2 ** len(self.up)
        x = pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        levels = []
        for number, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if number else x)
            levels.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([interpolate(x, scale_factor=2.0), levels[level]], dim=1))
        answer: Tensor = self.head(x)
        return answer[:, :, :height, :width]


class _Block(nn.Module):
    """Two convolutions with batch norm, and a way past them."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outer)
        self.second = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outer)
        self.past = nn.Conv2d(inner, outer, 1, bias=False) if inner != outer else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(inner)) + self.past(x))
