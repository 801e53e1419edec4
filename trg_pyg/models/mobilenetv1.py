"""MobileNetV1, a student of ImageNet's tables."""

from typing import ClassVar

from torch import Tensor, nn

# Channels and stride of each depthwise separable convolution: Table 1 of the paper.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    """A 3x3 convolution and 13 depthwise separable ones, each of these with batch norm and ReLU.

    Howard et al., MobileNets (arXiv 1704.04861), Table 1, with a width multiplier of 1.

    Args:
        num_classes: width of the logits.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> logits ``[B, num_classes]``; ``blocks.12`` (the last default tap) gives
        ``[B, 1024, H / 32, W / 32]``.
    """

    default_taps: ClassVar[tuple[str, ...]] = ("blocks.2", "blocks.4", "blocks.10", "blocks.12")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, 32, size=3, stride=2))
        widths = (32, *(channels for channels, _ in _BLOCKS))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    *_convolution(before, before, size=3, stride=stride, groups=before),
                    *_convolution(before, channels, size=1),
                )
                for before, (channels, stride) in zip(widths, _BLOCKS, strict=False)
            )
        )
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, num_classes]`` of normalised images ``[B, 3, H, W]``."""
        return self.fc(self.blocks(self.stem(images)).mean(dim=(2, 3)))


def _convolution(in_channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]


def mobilenetv1(num_classes: int = 10) -> MobileNetV1:
    """MobileNetV1 of full width, 4.23 M parameters with 1000 classes, last map ``[B, 1024, 7, 7]`` at 224x224."""
    return MobileNetV1(num_classes)
