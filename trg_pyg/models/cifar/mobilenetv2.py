"""MobileNetV2 for CIFAR, with the parameter names of RepDistiller, so that published weights load."""

import math
from typing import ClassVar

from torch import Tensor, nn

from trg_pyg.errors import InputError

# Expansion, channels at full width, blocks and stride of each stage: the paper's Table 2, but for the stride of the
# second stage, which is 1 for small images.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """Wide inside, narrow and linear at its ends, ``[B, in, H, W] -> [B, out, H / stride, W / stride]``.

    Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv 1801.04381), Figure 4 (d). The
    shortcut is the identity; where the shape changes there is none.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the bottleneck, not activated, with the input added where the shapes agree."""
        out = self.conv(x)
        return x + out if self.residual else out


class CifarMobileNetV2(nn.Module):
    """MobileNetV2 for 32x32 images.

    Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv 1801.04381), Table 2, with two
    differences that RepDistiller has: the second stage keeps its resolution, and activations are plain ReLUs. The
    names of parameters and buffers are those of HobbitLong/RepDistiller.

    Args:
        width: multiplies the channels of the first convolution and of the blocks; those of the last convolution, 1280,
            only where it is above 1.
        num_classes: width of the logits.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> logits ``[B, num_classes]``; ``blocks.6`` (the last
        default tap) gives ``[B, 320 * width, H / 16, W / 16]``, signed: bottlenecks end without an activation.

    Raises:
        InputError: the width is below 1/16, which leaves a stage without channels, or not finite.
    """

    default_taps: ClassVar[tuple[str, ...]] = ("blocks.1", "blocks.2", "blocks.4", "blocks.6")

    def __init__(self, width: float, num_classes: int) -> None:
        super().__init__()
        if not 1 / 16 <= width < math.inf:
            raise InputError(f"CifarMobileNetV2 width {width} must be 1/16 or more: the narrowest stage has 16 * width")
        channels = int(32 * width)
        self.conv1 = _convolution(3, channels, size=3, stride=2)
        stages = []
        for expansion, full, blocks, stride in _STAGES:
            stages.append(_stage(channels, int(full * width), blocks, stride, expansion))
            channels = int(full * width)
        self.blocks = nn.Sequential(*stages)
        last = int(1280 * max(1.0, width))
        self.conv2 = _convolution(channels, last, size=1, stride=1)
        self.classifier = nn.Sequential(nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, num_classes]`` of normalised images ``[B, 3, H, W]``."""
        x = self.conv2(self.blocks(self.conv1(images)))
        return self.classifier(x.mean(dim=(2, 3)))


def _convolution(in_channels: int, out_channels: int, size: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int, expansion: int) -> nn.Sequential:
    first = InvertedResidual(in_channels, out_channels, stride, expansion)
    rest = (InvertedResidual(out_channels, out_channels, 1, expansion) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def mobilenetv2(num_classes: int = 10) -> CifarMobileNetV2:
    """MobileNetV2 of half width, the literature's ``MobileNetV2`` on CIFAR, last map ``[B, 160, 2, 2]``."""
    return CifarMobileNetV2(0.5, num_classes)
