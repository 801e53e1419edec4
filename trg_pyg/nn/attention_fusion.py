"""A network's maps, fused from the deepest one on."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from trg_pyg.nn.conv_norm import ConvNorm


class AttentionFusion(nn.Module):
    r"""A map of one stage, with what was fused of the deeper ones: ABF of ReviewKD (Chen et al., arXiv 2104.09044).

    .. math:: x = a_1 \odot C_1(F) + a_2 \odot \uparrow y, \qquad a = \sigma\big(A [C_1(F); \uparrow y]\big),
        \qquad \mathrm{out} = C_2(x)

    :math:`C_1` and :math:`C_2` are convolutions of 1x1 and 3x3 with batch norm, A one of 1x1, y what was fused before,
    and :math:`\uparrow` repeats its cells to the grid of F. The deepest map is not fused: :math:`x = C_1(F)`.

    Args:
        in_channels: channels of F.
        width: channels of x and y.
        out_channels: channels of the result.
        fuse: whether there is a deeper map.

    Raises:
        InputError: a number of channels is not positive.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, fuse: bool) -> None:
        super().__init__()
        self.enter, self.leave = ConvNorm(in_channels, width), ConvNorm(width, out_channels, kernel=3)
        for layer in (self.enter, self.leave):
            nn.init.kaiming_uniform_(layer.conv.weight, a=1)
        self.attend = nn.Conv2d(2 * width, 2, 1) if fuse else None

    def forward(self, feature_map: Tensor, deeper: Tensor | None, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Fuse a map.

        Args:
            feature_map: F, ``[B, C_in, H, W]``.
            deeper: y, ``[B, width, H', W']``; ``None`` for the deepest map.
            grid: of the results; x is brought to it by repeating or leaving out cells.

        Returns:
            The result ``[B, C_out, *grid]``, and x ``[B, width, *grid]``, the next map's y.
        """
        x: Tensor = self.enter(feature_map)
        with torch.autocast(x.device.type, enabled=False):
            if self.attend is not None and deeper is not None:
                deeper = _on_grid(deeper, (x.shape[2], x.shape[3]))
                own, other = self.attend(torch.cat([x, deeper], dim=1)).sigmoid().split(1, dim=1)
                x = own * x + other * deeper
            x = _on_grid(x, grid)
        return self.leave(x), x


def _on_grid(x: Tensor, grid: tuple[int, int]) -> Tensor:
    return x if tuple(x.shape[2:]) == tuple(grid) else interpolate(x, grid, mode="nearest")
