import pytest
import torch
from definition import check_outputs, normalised, warmed
from torch import Tensor
from torch.nn import functional as F

from trg_pyg.models import CifarShuffleNetV2

UNITS = (3, 7, 3)


@pytest.fixture(scope="module")
def model() -> CifarShuffleNetV2:
    model = warmed("shufflenet_v2")
    assert isinstance(model, CifarShuffleNetV2)
    return model


def test_names_are_those_of_repdistiller(model: CifarShuffleNetV2) -> None:
    def layers(prefix: str, *indices: int) -> list[str]:
        return [f"{prefix}{layer}" for i in indices for layer in (f"conv{i}.weight", f"bn{i}.weight", f"bn{i}.bias")]

    expected = layers("", 1)
    for stage, units in enumerate(UNITS, start=1):
        expected += layers(f"layer{stage}.0.", 1, 2, 3, 4, 5)
        for index in range(1, units + 1):
            expected += layers(f"layer{stage}.{index}.", 1, 2, 3)
    expected += [*layers("", 2), "linear.weight", "linear.bias"]
    assert [name for name, _ in model.named_parameters()] == expected
    state = model.state_dict()
    assert len(state) == 338
    assert state["conv1.weight"].shape == (24, 3, 1, 1)
    assert state["layer1.0.conv1.weight"].shape == (24, 1, 3, 3)
    assert state["layer1.0.conv5.weight"].shape == (58, 58, 1, 1)
    assert state["layer2.7.conv2.weight"].shape == (116, 1, 3, 3)
    assert state["conv2.weight"].shape == (1024, 464, 1, 1)
    assert state["linear.weight"].shape == (100, 1024)


def test_forward_is_the_definition(model: CifarShuffleNetV2) -> None:
    s = model.state_dict()

    def convolve(x: Tensor, at: str, index: int, stride: int = 1) -> Tensor:
        return normalised(s, x, f"{at}conv{index}", f"{at}bn{index}", stride)

    images = torch.rand(1, 3, 32, 32)
    x = convolve(images, "", 1).relu()
    for stage, units in enumerate(UNITS, start=1):
        at = f"layer{stage}.0."
        short = convolve(convolve(x, at, 1, 2), at, 2).relu()
        long = convolve(convolve(convolve(x, at, 3).relu(), at, 4, 2), at, 5).relu()
        x = F.channel_shuffle(torch.cat([short, long], 1), 2)
        for index in range(1, units + 1):
            at, half = f"layer{stage}.{index}.", x.shape[1] // 2
            out = convolve(convolve(convolve(x[:, half:], at, 1).relu(), at, 2), at, 3).relu()
            x = F.channel_shuffle(torch.cat([x[:, :half], out], 1), 2)
    assert x.min() == 0
    check_outputs(model, images, x, convolve(x, "", 2).relu().mean((2, 3)), "linear")
