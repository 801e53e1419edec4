"""The ResNets of the CIFAR papers, with the parameter names of RepDistiller, so that published teachers load."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.errors import InputError

_NARROW = (16, 16, 32, 64)
_TWICE = (32, 32, 64, 128)
_WIDE = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, ``[B, in, H, W] -> [B, out, H / stride, W / stride]``.

    He et al., Deep Residual Learning for Image Recognition, Figure 5 left. The shortcut is a 1x1 convolution where the
    shape changes (option B), the identity elsewhere.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of the residual branch and the shortcut."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


class CifarResNet(nn.Module):
    """ResNet of three stages for 32x32 images.

    He et al., Deep Residual Learning for Image Recognition, section 4.2; the names of parameters and buffers are those
    of HobbitLong/RepDistiller.

    Args:
        depth: 6n + 2, such as 20 or 56; each stage has n blocks.
        widths: channels of the stem and of the three stages.
        num_classes: width of the logits.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> logits ``[B, num_classes]``; ``layer3`` (the last
        default tap) gives ``[B, widths[3], H / 4, W / 4]`` after its last ReLU.

    Raises:
        InputError: the depth is not 6n + 2, or there are not four widths.
    """

    default_taps: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(self, depth: int, widths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise InputError(f"CifarResNet depth {depth} is not 6n + 2; take 8, 14, 20, 32, 44, 56 or 110")
        if len(widths) != 4:
            raise InputError(f"CifarResNet widths {widths} are not four: the stem's and the three stages'")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(widths[0], widths[1], blocks, stride=1)
        self.layer2 = _stage(widths[1], widths[2], blocks, stride=2)
        self.layer3 = _stage(widths[2], widths[3], blocks, stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, num_classes]`` of normalised images ``[B, 3, H, W]``."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)))


def resnet8(num_classes: int = 10) -> CifarResNet:
    """ResNet-8, last map ``[B, 64, 8, 8]``."""
    return CifarResNet(8, _NARROW, num_classes)


def resnet14(num_classes: int = 10) -> CifarResNet:
    """ResNet-14, last map ``[B, 64, 8, 8]``."""
    return CifarResNet(14, _NARROW, num_classes)


def resnet20(num_classes: int = 10) -> CifarResNet:
    """ResNet-20, last map ``[B, 64, 8, 8]``."""
    return CifarResNet(20, _NARROW, num_classes)


def resnet32(num_classes: int = 10) -> CifarResNet:
    """ResNet-32, last map ``[B, 64, 8, 8]``."""
    return CifarResNet(32, _NARROW, num_classes)


def resnet44(num_classes: int = 10) -> CifarResNet:
    """ResNet-44, last map ``[B, 64, 8, 8]``."""
    return CifarResNet(44, _NARROW, num_classes)


def resnet56(num_classes: int = 10) -> CifarResNet:
    """ResNet-56, last map ``[B, 64, 8, 8]``."""
    return CifarResNet(56, _NARROW, num_classes)


def resnet110(num_classes: int = 10) -> CifarResNet:
    """ResNet-110, last map ``[B, 64, 8, 8]``."""
    return CifarResNet(110, _NARROW, num_classes)


def resnet8x2(num_classes: int = 10) -> CifarResNet:
    """ResNet-8, twice as wide, last map ``[B, 128, 8, 8]``."""
    return CifarResNet(8, _TWICE, num_classes)


def resnet8x4(num_classes: int = 10) -> CifarResNet:
    """ResNet-8, four times as wide, last map ``[B, 256, 8, 8]``."""
    return CifarResNet(8, _WIDE, num_classes)


def resnet32x4(num_classes: int = 10) -> CifarResNet:
    """ResNet-32, four times as wide, last map ``[B, 256, 8, 8]``."""
    return CifarResNet(32, _WIDE, num_classes)
