"""What every network of this package promises, and for the known ones the numbers of the literature."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from trg_pyg.models import TappedModel, build_model
from trg_pyg.models.retinanet import ANCHOR_NUMBERS
from trg_pyg.models.unet import PIXEL_EMBEDDING
from trg_pyg.models.zoo import _zoo


class Row(NamedTuple):
    """With 100 classes: parameters, entries of the state dict, its ends, maps at 32x32, width of the embedding."""

    parameters: int
    entries: int
    first: str
    last: str
    stages: tuple[tuple[str, int, int], ...]
    embedding: int


def layers(*maps: tuple[int, int], name: str = "layer", start: int = 1) -> tuple[tuple[str, int, int], ...]:
    return tuple((f"{name}{index}", channels, side) for index, (channels, side) in enumerate(maps, start))


NARROW = layers((16, 32), (32, 16), (64, 8))
WIDE = layers((64, 32), (128, 16), (256, 8))
WRN1 = layers((16, 32), (32, 16), (64, 8), name="block")
WRN2 = layers((32, 32), (64, 16), (128, 8), name="block")
VGG = layers((128, 16), (256, 8), (512, 4), (512, 4), name="relu")
VIT = tuple((f"encoder.{name}", 192, 8) for name in (*(f"layers.encoder_layer_{i}" for i in (2, 5, 8)), "ln"))

TABLE = {
    "resnet8": Row(83_892, 56, "conv1.weight", "fc.bias", NARROW, 64),
    "resnet14": Row(181_108, 92, "conv1.weight", "fc.bias", NARROW, 64),
    "resnet20": Row(278_324, 128, "conv1.weight", "fc.bias", NARROW, 64),
    "resnet32": Row(472_756, 200, "conv1.weight", "fc.bias", NARROW, 64),
    "resnet44": Row(667_188, 272, "conv1.weight", "fc.bias", NARROW, 64),
    "resnet56": Row(861_620, 344, "conv1.weight", "fc.bias", NARROW, 64),
    "resnet110": Row(1_736_564, 668, "conv1.weight", "fc.bias", NARROW, 64),
    "resnet8x2": Row(320_260, 56, "conv1.weight", "fc.bias", layers((32, 32), (64, 16), (128, 8)), 128),
    "resnet8x4": Row(1_233_540, 62, "conv1.weight", "fc.bias", WIDE, 256),
    "resnet32x4": Row(7_433_860, 206, "conv1.weight", "fc.bias", WIDE, 256),
    "wrn_16_1": Row(180_916, 82, "conv1.weight", "fc.bias", WRN1, 64),
    "wrn_16_2": Row(703_284, 83, "conv1.weight", "fc.bias", WRN2, 128),
    "wrn_40_1": Row(569_780, 226, "conv1.weight", "fc.bias", WRN1, 64),
    "wrn_40_2": Row(2_255_156, 227, "conv1.weight", "fc.bias", WRN2, 128),
    "vgg8": Row(3_965_028, 37, "block0.0.weight", "classifier.bias", VGG, 512),
    "vgg11": Row(9_277_284, 58, "block0.0.weight", "classifier.bias", VGG, 512),
    "vgg13": Row(9_462_180, 72, "block0.0.weight", "classifier.bias", VGG, 512),
    "vgg16": Row(14_774_436, 93, "block0.0.weight", "classifier.bias", VGG, 512),
    "vgg19": Row(20_086_692, 114, "block0.0.weight", "classifier.bias", VGG, 512),
    "resnet50": Row(
        23_705_252, 320, "conv1.weight", "linear.bias", layers((256, 32), (512, 16), (1024, 8), (2048, 4)), 2048
    ),
    "mobilenetv1": Row(
        3_309_476,
        164,
        "stem.0.weight",
        "fc.bias",
        (("blocks.2", 128, 8), ("blocks.4", 256, 4), ("blocks.10", 512, 2), ("blocks.12", 1024, 1)),
        1024,
    ),
    "mobilenetv2": Row(
        812_836,
        320,
        "conv1.0.weight",
        "classifier.0.bias",
        (("blocks.1", 12, 16), ("blocks.2", 16, 8), ("blocks.4", 48, 4), ("blocks.6", 160, 2)),
        1280,
    ),
    "shufflenet_v1": Row(949_258, 296, "conv1.weight", "linear.bias", layers((240, 16), (480, 8), (960, 4)), 960),
    "shufflenet_v2": Row(1_355_528, 338, "conv1.weight", "linear.bias", layers((116, 16), (232, 8), (464, 4)), 1024),
    "vit_tiny_patch4_32": Row(5_380_132, 152, "class_token", "heads.head.bias", VIT, 192),
}
OF_IMAGES = [name for name in _zoo() if name not in ("text_transformer", "c3d")]
# Their logits are of the classes, and of what else a pixel or an anchor has; and how many there are of these.
OF_PARTS = {"unet": (PIXEL_EMBEDDING, (32, 32)), "retinanet": (ANCHOR_NUMBERS, (9 * (16**2 + 8**2 + 4**2 + 2**2),))}


def test_every_row_is_a_network() -> None:
    assert TABLE.keys() <= _zoo().keys()


@pytest.mark.parametrize("name", OF_IMAGES)
def test_network(name: str) -> None:
    model = build_model(name, 100)
    info = TappedModel(model, "stages").describe(32)
    assert (info.num_classes - 100, info.pixels) == OF_PARTS.get(name, (0, ()))
    assert info.features[-1:] == TappedModel(model).describe(32).features
    if name not in TABLE:  # a file is all that a new network takes
        return
    keys = list(model.state_dict())
    assert (
        Row(
            sum(p.numel() for p in model.parameters()),
            len(keys),
            keys[0],
            keys[-1],
            tuple((feature.path, feature.channels, feature.grid[0]) for feature in info.features),
            info.embedding,
        )
        == TABLE[name]
    )
    assert all(feature.grid[0] == feature.grid[1] for feature in info.features)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    # In evaluation: the statistics of a batch take every bias before them away, and its gradient with it.
    model = build_model(name, 10).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter)  # behind a classifier of zeros there is none
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
