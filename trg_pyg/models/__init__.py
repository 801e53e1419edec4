"""Networks, their features by module path, and their weights."""

from trg_pyg.models.attack import Attack, check_attack, pgd
from trg_pyg.models.c3d import C3D, c3d
from trg_pyg.models.cifar.mobilenetv2 import CifarMobileNetV2, InvertedResidual, mobilenetv2
from trg_pyg.models.cifar.resnet import (
    BasicBlock,
    CifarResNet,
    resnet8,
    resnet8x2,
    resnet8x4,
    resnet14,
    resnet20,
    resnet32,
    resnet32x4,
    resnet44,
    resnet56,
    resnet110,
)
from trg_pyg.models.cifar.resnet50 import Bottleneck, CifarResNet50, resnet50
from trg_pyg.models.cifar.shufflenetv1 import CifarShuffleNetV1, ShuffleUnitV1, shufflenet_v1
from trg_pyg.models.cifar.shufflenetv2 import CifarShuffleNetV2, ShuffleDownV2, ShuffleUnitV2, shufflenet_v2
from trg_pyg.models.cifar.vgg import CifarVGG, vgg8, vgg11, vgg13, vgg16, vgg19
from trg_pyg.models.cifar.wrn import WideBlock, WideResNet, WideStage, wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2
from trg_pyg.models.cost import Cost, cost
from trg_pyg.models.image_classifier import ImageClassifier
from trg_pyg.models.mobilenetv1 import MobileNetV1, mobilenetv1
from trg_pyg.models.networks import Networks, statistics_kept
from trg_pyg.models.normalize import Normalize
from trg_pyg.models.pretrained import Pretrained, is_hub, pretrained, structure, torchvision_weights
from trg_pyg.models.published import (
    PublishedTeacher,
    fetch,
    find_published,
    is_verified,
    published_teachers,
    record,
    sha256_of,
)
from trg_pyg.models.retinanet import RetinaNet, retinanet
from trg_pyg.models.reused import Projected, make_projector, restore_projector, widen
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs, TappedModel
from trg_pyg.models.text_transformer import TextTransformer, text_transformer
from trg_pyg.models.unet import UNet, unet
from trg_pyg.models.vit import vit_tiny_patch4_32
from trg_pyg.models.weights import LoadedWeights, digest_of, load_weights, not_finite, save_weights, take_over
from trg_pyg.models.zoo import build_model

__all__ = [
    "C3D",
    "Attack",
    "BasicBlock",
    "Bottleneck",
    "CifarMobileNetV2",
    "CifarResNet",
    "CifarResNet50",
    "CifarShuffleNetV1",
    "CifarShuffleNetV2",
    "CifarVGG",
    "Cost",
    "FeatureInfo",
    "ImageClassifier",
    "InvertedResidual",
    "LoadedWeights",
    "MobileNetV1",
    "NetworkInfo",
    "Networks",
    "Normalize",
    "Outputs",
    "Pretrained",
    "Projected",
    "PublishedTeacher",
    "RetinaNet",
    "ShuffleDownV2",
    "ShuffleUnitV1",
    "ShuffleUnitV2",
    "TappedModel",
    "TextTransformer",
    "UNet",
    "WideBlock",
    "WideResNet",
    "WideStage",
    "build_model",
    "c3d",
    "check_attack",
    "cost",
    "digest_of",
    "fetch",
    "find_published",
    "is_hub",
    "is_verified",
    "load_weights",
    "make_projector",
    "mobilenetv1",
    "mobilenetv2",
    "not_finite",
    "pgd",
    "pretrained",
    "published_teachers",
    "record",
    "resnet8",
    "resnet8x2",
    "resnet8x4",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "restore_projector",
    "retinanet",
    "save_weights",
    "sha256_of",
    "shufflenet_v1",
    "shufflenet_v2",
    "statistics_kept",
    "structure",
    "take_over",
    "text_transformer",
    "torchvision_weights",
    "unet",
    "vgg8",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit_tiny_patch4_32",
    "widen",
    "wrn_16_1",
    "wrn_16_2",
    "wrn_40_1",
    "wrn_40_2",
]
