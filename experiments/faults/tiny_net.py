"""A network that trains in seconds and has everything that a resumption could forget."""

from torch import Tensor, nn


class TinyNet(nn.Module):
    """Two convolutions with batch norm, and dropout before the logits: running statistics and a random stream.

    Args:
        num_classes: width of the logits.
        width: channels of the first convolution; the second has twice as many.

    Shapes:
        images ``[B, 3, 32, 32]`` give a last feature map ``[B, 2 * width, 4, 4]`` and logits ``[B, num_classes]``.
    """

    def __init__(self, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, 4, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        features = self.second(self.first(images))
        return self.head(self.dropout(features.mean((2, 3))))
