"""What tests of trained networks share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests import page_commands
from trg_pyg.cli import main as trg


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


Weights = dict[str, Tensor]


@pytest.fixture
def stopped_and_whole(tmp_path, monkeypatch) -> Callable[[list[str], str], tuple[Weights, Weights]]:
    """Give the last weights of a training that was stopped after an epoch and resumed, and of one that was not."""

    class Stopped(Exception):
        pass

    def train(given: list[str], method: str) -> tuple[Weights, Weights]:
        def stop(display, metrics):
            if display.title.startswith(method):
                raise Stopped

        weights = []
        for name in ("stopped", "whole"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            if name == "stopped":
                with monkeypatch.context() as patch:
                    patch.setattr("trg_pyg.study.progress.Display.epoch", stop)
                    with pytest.raises(Stopped):
                        trg(given)
            assert trg([*given, "--resume"] if name == "stopped" else given) == 0
            (run,) = Path("runs").glob(f"**/{method}-*/seed0")
            weights.append(load_file(run / "last.safetensors"))
        return weights[0], weights[1]

    return train
