"""ShuffleNet V2 for CIFAR, with the parameter names of RepDistiller, so that published weights load."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.models.cifar._shuffle import channel_shuffle


class ShuffleUnitV2(nn.Module):
    """One half of the channels passes, the other is convolved, then both are shuffled; the shape stays.

    Ma et al., ShuffleNet V2 (arXiv 1807.11164), Figure 3 (c).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """Return both halves, shuffled; where the input is activated, so is the output."""
        passed, out = x.chunk(2, dim=1)
        out = F.relu(self.bn1(self.conv1(out)))
        out = self.bn2(self.conv2(out))
        out = F.relu(self.bn3(self.conv3(out)))
        return channel_shuffle(torch.cat([passed, out], dim=1), 2)


class ShuffleDownV2(nn.Module):
    """Two branches of stride 2, each with half of the output, ``[B, in, H, W] -> [B, out, H / 2, W / 2]``, activated.

    Ma et al., ShuffleNet V2 (arXiv 1807.11164), Figure 3 (d): ``conv1`` and ``conv2`` are the short branch, ``conv3``
    to ``conv5`` the long one.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, 2, padding=1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """Return both branches, shuffled."""
        short = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        long = F.relu(self.bn3(self.conv3(x)))
        long = F.relu(self.bn5(self.conv5(self.bn4(self.conv4(long)))))
        return channel_shuffle(torch.cat([short, long], dim=1), 2)


class CifarShuffleNetV2(nn.Module):
    """ShuffleNet V2 1x for 32x32 images: its first convolution is 1x1 and nothing pools after it.

    Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design (arXiv 1807.11164), Table 5;
    the names of parameters and buffers are those of HobbitLong/RepDistiller.

    Args:
        num_classes: width of the logits.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> logits ``[B, num_classes]``; ``layer3`` (the last
        default tap) gives ``[B, 464, H / 8, W / 8]``, activated, before the last convolution.
    """

    default_taps: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.layer1 = _stage(24, 116, units=3)
        self.layer2 = _stage(116, 232, units=7)
        self.layer3 = _stage(232, 464, units=3)
        self.conv2 = nn.Conv2d(464, 1024, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, num_classes]`` of normalised images ``[B, 3, H, W]``."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.linear(x.mean(dim=(2, 3)))


def _stage(in_channels: int, out_channels: int, units: int) -> nn.Sequential:
    return nn.Sequential(ShuffleDownV2(in_channels, out_channels), *(ShuffleUnitV2(out_channels) for _ in range(units)))


def shufflenet_v2(num_classes: int = 10) -> CifarShuffleNetV2:
    """ShuffleNet V2 1x, the literature's ``ShuffleV2`` on CIFAR, last map ``[B, 464, 4, 4]``."""
    return CifarShuffleNetV2(num_classes)
