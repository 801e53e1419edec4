"""ShuffleNet for CIFAR, with the parameter names of RepDistiller, so that published weights load."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.models.cifar._shuffle import channel_shuffle

_GROUPS = 3
_STEM = 24


class ShuffleUnitV1(nn.Module):
    """Grouped bottleneck with a channel shuffle, ``[B, in, H, W] -> [B, out, H / stride, W / stride]``.

    Zhang et al., ShuffleNet (arXiv 1707.01083), Figure 2 (b) for stride 1 and (c) for stride 2, where the pooled input
    is joined to the channels of the branch, not added. The depthwise convolution is followed by a ReLU, as in
    RepDistiller; the paper's is not.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        branch = out_channels - in_channels if stride == 2 else out_channels
        inner = branch // 4
        # As in the paper, the channels of the stem are too few to be split in groups.
        self.groups = 1 if in_channels == _STEM else _GROUPS
        self.conv1 = nn.Conv2d(in_channels, inner, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, branch, 1, groups=_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)
        self.pool = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch and the shortcut, joined or added, activated."""
        out = channel_shuffle(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + x if self.pool is None else torch.cat([out, self.pool(x)], dim=1))


class CifarShuffleNetV1(nn.Module):
    """ShuffleNet 1x with three groups for 32x32 images: its first convolution is 1x1 and nothing pools after it.

    Zhang et al., ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices
    (arXiv 1707.01083), Table 1; the names of parameters and buffers are those of HobbitLong/RepDistiller.

    Args:
        num_classes: width of the logits.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> logits ``[B, num_classes]``; ``layer3`` (the last
        default tap) gives ``[B, 960, H / 8, W / 8]`` after its last ReLU.
    """

    default_taps: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.layer1 = _stage(_STEM, 240, units=4)
        self.layer2 = _stage(240, 480, units=8)
        self.layer3 = _stage(480, 960, units=4)
        self.linear = nn.Linear(960, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, num_classes]`` of normalised images ``[B, 3, H, W]``."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def _stage(in_channels: int, out_channels: int, units: int) -> nn.Sequential:
    first = ShuffleUnitV1(in_channels, out_channels, stride=2)
    return nn.Sequential(first, *(ShuffleUnitV1(out_channels, out_channels, stride=1) for _ in range(units - 1)))


def shufflenet_v1(num_classes: int = 10) -> CifarShuffleNetV1:
    """ShuffleNet 1x, the literature's ``ShuffleV1`` on CIFAR, last map ``[B, 960, 4, 4]``."""
    return CifarShuffleNetV1(num_classes)
