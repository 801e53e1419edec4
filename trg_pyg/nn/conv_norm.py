"""Convolutions that bring one network's map to the shape of another's."""

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from trg_pyg.errors import require
from trg_pyg.tokens.normalize import check_type, full_precision


class ConvNorm(nn.Module):
    """A convolution without bias and a batch norm, computed in float32 at least; the grid stays.

    In training mode batch norm uses the batch's statistics, except where there is a single value a channel (one image
    on a 1x1 grid), which has none: then the running ones.

    Args:
        in_channels: channels of the map.
        out_channels: channels of the result.
        kernel: edge of the convolution's kernel, odd.

    Raises:
        InputError: a number of channels is not positive, or the kernel is even.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1) -> None:
        super().__init__()
        require(
            min(in_channels, out_channels, kernel) >= 1 and kernel % 2 == 1,
            f"convolution from {in_channels} to {out_channels} channels with a kernel of {kernel}: channels are at "
            "least 1, and the kernel is odd",
        )
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the map ``[B, C_out, H, W]`` of one ``[B, C_in, H, W]``.

        Raises:
            InputError: the map has another number of channels, or is of another precision than the weights.
        """
        x, norm = full_precision(feature_map), self.norm
        require(
            x.dim() == 4 and x.shape[1] == self.conv.in_channels,
            f"map {tuple(x.shape)} for a convolution of {self.conv.in_channels} channels: make it for the map",
        )
        check_type(x, self.conv.weight)
        with torch.autocast(x.device.type, enabled=False):
            x = self.conv(x)
            if x[:, 0].numel() > 1:
                normalised: Tensor = norm(x)
                return normalised
            return batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
