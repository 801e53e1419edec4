"""What tests of trained networks share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import page_commands


@pytest.fixture(scope="module")
def few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        page_commands.few_scenes(patch)
        yield


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Images of two sizes, neither that of the training."""
    place = tmp_path / "scenes"
    place.mkdir()
    noise = np.random.default_rng(0)
    for name, height, width in (("wide", 40, 90), ("high", 71, 50)):
        Image.fromarray(noise.integers(256, size=(height, width, 3)).astype(np.uint8)).save(place / f"{name}.png")
    return place
