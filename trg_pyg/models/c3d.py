"""A small network of 3-d convolutions for clips."""

from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from trg_pyg.errors import require


def c3d(num_classes: int = 10, width: int = 16) -> "C3D":
    """Convolutions of 3x3x3 in time and place, after C3D (Tran et al., arXiv 1412.0767), far smaller.

    Three stages of ``width``, ``2 width`` and ``4 width`` channels, each a convolution with batch norm and ReLU. The
    first one has stride 2 in place; the other two come behind a pooling of 2, which the last one has in time too.

    Args:
        num_classes: width of the logits.
        width: channels of the first stage.

    Returns:
        A network of clips ``[B, 3, T, H, W]``, T >= 2 and H and W >= 8, whose default taps are its three stages.

    Raises:
        InputError: ``width`` is below 1.
    """
    require(width >= 1, f"c3d width {width}: give 1 or more")
    return C3D(num_classes, width)


class C3D(nn.Module):
    """See :func:`c3d`, whose arguments these are."""

    default_taps = ("stage1", "stage2", "stage3")
    classifier_path = "fc"

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.stage1 = _stage(3, width, (1, 2, 2))
        self.stage2 = _stage(width, 2 * width)
        self.stage3 = _stage(2 * width, 4 * width)
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the logits ``[B, classes]`` of clips ``[B, 3, T, H, W]``."""
        x = self.stage2(max_pool3d(self.stage1(clips), (1, 2, 2)))
        x = self.stage3(max_pool3d(x, 2))
        logits: Tensor = self.fc(x.mean((2, 3, 4)))
        return logits


def _stage(inner: int, outer: int, stride: tuple[int, int, int] = (1, 1, 1)) -> nn.Sequential:
    conv = nn.Conv3d(inner, outer, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm3d(outer), nn.ReLU())
