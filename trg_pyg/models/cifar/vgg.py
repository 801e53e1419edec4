"""VGG with batch norm for CIFAR, with the parameter names of RepDistiller, so that published teachers load."""

from typing import ClassVar

from torch import Tensor, nn

from trg_pyg.errors import InputError

_WIDTHS = (64, 128, 256, 512, 512)


class CifarVGG(nn.Module):
    """VGG of five blocks for 32x32 images, with batch norm and one linear layer as its classifier.

    Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (arXiv 1409.1556),
    Table 1; the names of parameters and buffers are those of HobbitLong/RepDistiller.

    Args:
        convolutions: how many 3x3 convolutions each of the five blocks has.
        num_classes: width of the logits.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> logits ``[B, num_classes]``; ``relu4`` (the last
        default tap: blocks end without an activation) gives ``[B, 512, H / 8, W / 8]``, and ``[B, 512, 4, 4]`` at
        64x64.

    Raises:
        InputError: the blocks are not five, or one is without a convolution.
    """

    default_taps: ClassVar[tuple[str, ...]] = ("relu1", "relu2", "relu3", "relu4")

    def __init__(self, convolutions: tuple[int, int, int, int, int], num_classes: int) -> None:
        super().__init__()
        if len(convolutions) != len(_WIDTHS) or min(convolutions) < 1:
            raise InputError(f"CifarVGG convolutions {convolutions} are not five numbers of 1 or more")
        self.block0 = _block(3, _WIDTHS[0], convolutions[0])
        self.block1 = _block(_WIDTHS[0], _WIDTHS[1], convolutions[1])
        self.block2 = _block(_WIDTHS[1], _WIDTHS[2], convolutions[2])
        self.block3 = _block(_WIDTHS[2], _WIDTHS[3], convolutions[3])
        self.block4 = _block(_WIDTHS[3], _WIDTHS[4], convolutions[4])
        # One module for each, although they are alike: every activated map can be tapped.
        self.relu0 = nn.ReLU()
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.relu3 = nn.ReLU()
        self.relu4 = nn.ReLU()
        self.pool0 = nn.MaxPool2d(2)
        self.pool1 = nn.MaxPool2d(2)
        self.pool2 = nn.MaxPool2d(2)
        self.pool3 = nn.MaxPool2d(2)
        self.pool4 = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(_WIDTHS[4], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, num_classes]`` of normalised images ``[B, 3, H, W]``."""
        x = self.pool0(self.relu0(self.block0(images)))
        x = self.pool1(self.relu1(self.block1(x)))
        x = self.pool2(self.relu2(self.block2(x)))
        x = self.relu3(self.block3(x))
        if images.shape[2] == 64:  # RepDistiller's rule: 4x4 is the last map of 32x32 and of 64x64
            x = self.pool3(x)
        x = self.relu4(self.block4(x))
        return self.classifier(self.pool4(x).flatten(1))


def _block(in_channels: int, out_channels: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(convolutions):
        # A bias before a batch norm does nothing; published weights have it.
        conv = nn.Conv2d(in_channels if index == 0 else out_channels, out_channels, 3, padding=1)
        layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def vgg8(num_classes: int = 10) -> CifarVGG:
    """VGG-8, last map ``[B, 512, 4, 4]``."""
    return CifarVGG((1, 1, 1, 1, 1), num_classes)


def vgg11(num_classes: int = 10) -> CifarVGG:
    """VGG-11, last map ``[B, 512, 4, 4]``."""
    return CifarVGG((1, 1, 2, 2, 2), num_classes)


def vgg13(num_classes: int = 10) -> CifarVGG:
    """VGG-13, last map ``[B, 512, 4, 4]``."""
    return CifarVGG((2, 2, 2, 2, 2), num_classes)


def vgg16(num_classes: int = 10) -> CifarVGG:
    """VGG-16, last map ``[B, 512, 4, 4]``."""
    return CifarVGG((2, 2, 3, 3, 3), num_classes)


def vgg19(num_classes: int = 10) -> CifarVGG:
    """VGG-19, last map ``[B, 512, 4, 4]``."""
    return CifarVGG((2, 2, 4, 4, 4), num_classes)
