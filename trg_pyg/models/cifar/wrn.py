"""Wide residual networks for CIFAR, with the parameter names of RepDistiller, so that published teachers load."""

from typing import ClassVar

from torch import Tensor, nn

from trg_pyg.errors import InputError


class WideBlock(nn.Module):
    """Pre-activation block, ``[B, in, H, W] -> [B, out, H / stride, W / stride]``.

    Zagoruyko and Komodakis, Wide Residual Networks, Figure 1 (d). Where the number of channels changes, the shortcut
    is a 1x1 convolution of the activated input; elsewhere it is the raw input.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.convShortcut: nn.Module | None = None
        if in_channels != out_channels:
            self.convShortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, not activated, of the residual branch and the shortcut."""
        active = self.relu1(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        out = self.dropout(self.relu2(self.bn2(self.conv1(active))))
        return self.conv2(out) + shortcut


class WideStage(nn.Module):
    """The blocks of one resolution, as ``layer``; it exists for the sake of RepDistiller's parameter names."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, stride: int, dropout: float) -> None:
        super().__init__()
        first = WideBlock(in_channels, out_channels, stride, dropout)
        rest = (WideBlock(out_channels, out_channels, dropout=dropout) for _ in range(blocks - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last block."""
        return self.layer(x)


class WideResNet(nn.Module):
    """WRN-depth-widen_factor for 32x32 images.

    Zagoruyko and Komodakis, Wide Residual Networks, Table 1; the names of parameters and buffers are those of
    HobbitLong/RepDistiller.

    Args:
        depth: 6n + 4, such as 16 or 40; each stage has n blocks.
        widen_factor: multiplies the widths 16, 32 and 64 of the stages.
        num_classes: width of the logits.
        dropout: probability, in [0, 1), of dropping a value between the two convolutions of a block.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> logits ``[B, num_classes]``; ``block3`` (the last
        default tap) gives ``[B, 64 * widen_factor, H / 4, W / 4]``, signed, as RepDistiller compares it: blocks end
        without an activation. ``relu`` gives it normalised and activated.

    Raises:
        InputError: the depth is not 6n + 4, the factor is below 1, or the dropout is outside [0, 1).
    """

    default_taps: ClassVar[tuple[str, ...]] = ("block1", "block2", "block3")

    def __init__(self, depth: int, widen_factor: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise InputError(f"WideResNet depth {depth} is not 6n + 4; take 10, 16, 22, 28 or 40")
        if widen_factor < 1:
            raise InputError(f"WideResNet widen_factor {widen_factor} must be 1 or more")
        if not 0 <= dropout < 1:
            raise InputError(f"WideResNet dropout {dropout} must be in [0, 1)")
        blocks = (depth - 4) // 6
        width = 16 * widen_factor
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = WideStage(16, width, blocks, 1, dropout)
        self.block2 = WideStage(width, 2 * width, blocks, 2, dropout)
        self.block3 = WideStage(2 * width, 4 * width, blocks, 2, dropout)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, num_classes]`` of normalised images ``[B, 3, H, W]``."""
        x = self.block3(self.block2(self.block1(self.conv1(images))))
        x = self.relu(self.bn1(x))
        return self.fc(x.mean(dim=(2, 3)))


def wrn_16_1(num_classes: int = 10) -> WideResNet:
    """WRN-16-1, last map ``[B, 64, 8, 8]``."""
    return WideResNet(16, 1, num_classes)


def wrn_16_2(num_classes: int = 10) -> WideResNet:
    """WRN-16-2, last map ``[B, 128, 8, 8]``."""
    return WideResNet(16, 2, num_classes)


def wrn_40_1(num_classes: int = 10) -> WideResNet:
    """WRN-40-1, last map ``[B, 64, 8, 8]``."""
    return WideResNet(40, 1, num_classes)


def wrn_40_2(num_classes: int = 10) -> WideResNet:
    """WRN-40-2, last map ``[B, 128, 8, 8]``."""
    return WideResNet(40, 2, num_classes)
