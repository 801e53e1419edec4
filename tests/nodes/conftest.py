from collections.abc import Callable

import pytest
import torch

from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.step import Step

IMAGES, CLASSES = 3, 5
# A convolutional student of unequal, not square grids; a transformer teacher behind a class and a register token, whose
# first tap has its channels last.
STUDENT = NetworkInfo(CLASSES, (FeatureInfo("layer1", "map", 4, (6, 4)), FeatureInfo("layer2", "map", 6, (4, 4))), 7)
TEACHER = NetworkInfo(
    CLASSES,
    (FeatureInfo("stem", "map_last", 3, (4, 4)), FeatureInfo("blocks.11", "sequence", 5, (2, 2), prefix_tokens=2)),
    8,
)


def make_outputs(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Outputs, Outputs]:
    """Outputs of both networks, all of which require a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    student = Outputs(draw(IMAGES, CLASSES), (draw(IMAGES, 4, 6, 4), draw(IMAGES, 6, 4, 4)), draw(IMAGES, 7))
    return student, Outputs(draw(IMAGES, CLASSES), (draw(IMAGES, 4, 4, 3), draw(IMAGES, 6, 5)), draw(IMAGES, 8))


@pytest.fixture
def networks() -> tuple[NetworkInfo, NetworkInfo]:
    return STUDENT, TEACHER


@pytest.fixture
def outputs() -> Callable[..., tuple[Outputs, Outputs]]:
    return make_outputs


@pytest.fixture
def step() -> Step:
    return Step(torch.tensor([2, 0, 1]), 0.5, torch.Generator().manual_seed(0), torch.arange(IMAGES))
