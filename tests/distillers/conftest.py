import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from trg_pyg.models import Networks
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs, TappedModel
from trg_pyg.step import Step

CLASSES = 5
# A convolutional student of 16x16 and 8x8 maps, a transformer teacher of a 4x4 grid behind a class token.
STUDENT = NetworkInfo(CLASSES, (FeatureInfo("layer2", "map", 3, (16, 16)), FeatureInfo("layer3", "map", 6, (8, 8))), 6)
TEACHER = NetworkInfo(
    CLASSES,
    (
        FeatureInfo("blocks.5", "sequence", 4, (4, 4), prefix_tokens=1),
        FeatureInfo("blocks.11", "sequence", 4, (4, 4), prefix_tokens=1),
    ),
    4,
)


class Shaped(nn.Module):
    """Pixels in the shape of a tap."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, : math.prod(self.shape)].unflatten(1, self.shape)


class OfWidth(nn.Module):
    """A network of which a method sees the last tap and the classifier of the right width; of tokens, of the first."""

    classifier_path = "fc"

    def __init__(self, info: NetworkInfo) -> None:
        super().__init__()
        width = info.embedding or 0
        self.last = Shaped(info.features[-1].shape)
        self.fc = nn.utils.skip_init(nn.Linear, width, CLASSES)  # draws nothing
        with torch.no_grad():
            self.fc.weight.copy_(torch.arange(CLASSES * width).view(CLASSES, width).cos())
            self.fc.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.last(images).flatten(1)[:, : self.fc.in_features])


def make_outputs(images: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Outputs, Outputs]:
    """Logits and features of student and teacher; the teacher's carry a gradient too, to see that it is not used."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    student = Outputs(draw(images, CLASSES), (draw(images, 3, 16, 16), draw(images, 6, 8, 8)), draw(images, 6))
    return student, Outputs(draw(images, CLASSES), (draw(images, 17, 4), draw(images, 17, 4)), draw(images, 4))


def make_step(images: int = 3, seed: int = 0, progress: float = 0.5) -> Step:
    target = torch.arange(images) % CLASSES
    tapped = [
        TappedModel(OfWidth(info), ["last"], prefix_tokens=info.features[-1].prefix_tokens).eval()
        for info in (STUDENT, TEACHER)
    ]
    for network in tapped:
        network.describe(16)
    networks = Networks(*tapped)
    # Black where an image ends, each at another place.
    places = torch.arange(images * 3 * 16 * 16).view(images, 3, 16, 16) % 251
    inputs = places.to(torch.uint8) * (torch.arange(16) < 16 - torch.arange(images).view(-1, 1, 1, 1) % 8)
    return Step(target, progress, torch.Generator().manual_seed(seed), torch.arange(images), networks, inputs=inputs)


@pytest.fixture
def networks() -> tuple[NetworkInfo, NetworkInfo]:
    return STUDENT, TEACHER


@pytest.fixture
def outputs() -> Callable[..., tuple[Outputs, Outputs]]:
    return make_outputs


@pytest.fixture
def step() -> Callable[..., Step]:
    return make_step
