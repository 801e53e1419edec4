from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.data.base import ImageSet
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.models.taps import NetworkInfo, Outputs, TappedModel
from trg_pyg.step import Step

CLASSES = 3


class TinyNet(nn.Module):
    """Everything that makes training depend on more than its weights: batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).mean(dim=(2, 3)))


class Hints(Distiller):
    """Cross-entropy, and the distance of projected and noised student features from the teacher's."""

    def __init__(self, student: NetworkInfo | None = None, teacher: NetworkInfo | None = None) -> None:
        nn.Module.__init__(self)
        self.project = nn.Conv2d(6, 6, 1)

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        assert teacher is not None
        hint = self.project(student.features[0])
        noise = torch.randn(hint.shape, generator=step.generator).to(hint)
        ce = F.cross_entropy(student.logits, step.target)
        return self.weigh({"ce": (1.0, ce), "hint": (0.5, F.mse_loss(hint + 0.1 * noise, teacher.features[0]))})


class Plain(Distiller):
    """Cross-entropy alone."""

    needs_teacher = False

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        return self.weigh({"ce": (1.0, F.cross_entropy(student.logits, step.target))})


def make_network(seed: int) -> TappedModel:
    torch.manual_seed(seed)
    return TappedModel(TinyNet(), ["body"], None)


def make_set(size: int, seed: int) -> ImageSet:
    """Classes that differ in brightness, so that a few steps learn something."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(size) % CLASSES
    images = torch.randint(0, 60, (size, 3, 6, 6), generator=generator) + 90 * targets[:, None, None, None]
    return ImageSet(images.to(torch.uint8), targets)


@pytest.fixture
def network() -> Callable[[int], TappedModel]:
    return make_network


@pytest.fixture
def hints() -> Callable[[], Hints]:
    def make() -> Hints:
        torch.manual_seed(7)
        return Hints()

    return make


@pytest.fixture
def plain() -> Plain:
    return Plain()


@pytest.fixture
def train_set() -> ImageSet:
    return make_set(22, seed=1)


@pytest.fixture
def test_set() -> ImageSet:
    return make_set(9, seed=2)
