"""Detectors that score anchors: RetinaNet on the stages of another network."""

import copy
from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from trg_pyg.errors import require
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.zoo import build_model

# Numbers of an anchor behind its classes: how its box differs from it, and the anchor itself.
ANCHOR_NUMBERS = 8
_CELLS = 4  # that an anchor is wide at the least
_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1.0, 2.0)
_GROUPS = 8
_SEEN = 64  # side of the images that a network is looked at with


def retinanet(num_classes: int = 2, backbone: str = "resnet8", stages: int = 2, channels: int = 32) -> "RetinaNet":
    """RetinaNet (Lin et al., arXiv 1708.02002) with the pyramid, anchors and heads of torchvision.

    The pyramid has the last stages of another network, top-down, and two coarser levels. Each cell of a level has nine
    anchors, of three sizes from 4 cells on and of three shapes. Ours: pyramid and heads have group norm, in groups of
    8, so that they learn from scratch. Images of any size.

    Args:
        num_classes: classes of a box; background is none of them.
        backbone: a network for images, by its name as :func:`~trg_pyg.models.zoo.build_model` knows it.
        stages: of it that the pyramid has, the last ones, 1 to 4; each more has cells of half the side.
        channels: of the pyramid and of both heads, a multiple of 8.

    Returns:
        A network whose default taps are the levels of its pyramid, from the coarsest to the finest.

    Raises:
        InputError: there is no such network, it has fewer stages, or ``channels`` is no multiple of 8.
    """
    require(channels >= 1 and channels % _GROUPS == 0, f"retinanet channels {channels}: give a multiple of {_GROUPS}")
    network = build_model(backbone, num_classes)
    found = TappedModel(copy.deepcopy(network), "stages").describe(_SEEN).features
    require(
        1 <= stages <= len(found),
        f"retinanet stages {stages}: {backbone} has {len(found)}, {', '.join(stage.path for stage in found)}",
    )
    last = found[-stages:]
    body = create_feature_extractor(network, {stage.path: str(number) for number, stage in enumerate(last)})
    strides = [_SEEN // stage.grid[0] for stage in last]
    return RetinaNet(body, [stage.channels for stage in last], strides, num_classes, channels)


class RetinaNet(nn.Module):
    """See :func:`retinanet`.

    Args:
        backbone: gives maps by name, from fine to coarse.
        widths: channels of each.
        strides: pixels of an image from one of its cells to the next.
        num_classes: classes of a box.
        channels: of the pyramid and of both heads.

    Shapes:
        images ``[B, 3, H, W]``, normalised -> ``[B, num_classes + 8, A]`` of A anchors: a logit of each class; how the
        box differs from the anchor, as torchvision's ``BoxCoder`` has it; left, top, right and bottom of the anchor as
        shares of the image's sides.
    """

    def __init__(
        self, backbone: nn.Module, widths: list[int], strides: list[int], num_classes: int, channels: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        norm = partial(nn.GroupNorm, _GROUPS)
        self.fpn = FeaturePyramidNetwork(widths, channels, LastLevelP6P7(channels, channels), norm)
        strides = [*strides, 2 * strides[-1], 4 * strides[-1]]
        sizes = tuple(tuple(_CELLS * stride * scale for scale in _SCALES) for stride in strides)
        self.anchors = AnchorGenerator(sizes, (_RATIOS,) * len(sizes))
        self.head = RetinaNetHead(channels, len(_SCALES) * len(_RATIOS), num_classes, norm_layer=norm)
        fine = [f"fpn.layer_blocks.{level}" for level in range(len(widths))]
        self.default_taps = ("fpn.extra_blocks.p7", "fpn.extra_blocks.p6", *reversed(fine))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, differences and anchors, ``[B, num_classes + 8, A]``."""
        levels = list(self.fpn(OrderedDict(self.backbone(images))).values())
        scores = self.head(levels)
        height, width = images.shape[2:]
        # Of one image, and in full precision: they are the same for all of a size.
        one = ImageList(images, [(height, width)])
        (anchors,) = self.anchors(one, [level.float() for level in levels])
        anchors = anchors / anchors.new_tensor([width, height, width, height])
        parts = scores["cls_logits"], scores["bbox_regression"], anchors.expand(len(images), -1, -1)
        return torch.cat(parts, dim=2).mT
