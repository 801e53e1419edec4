import pytest
import torch
from definition import check_outputs, normalised, warmed
from torch import Tensor
from torch.nn import functional as F

from trg_pyg.models import CifarShuffleNetV1

UNITS = (4, 8, 4)


@pytest.fixture(scope="module")
def model() -> CifarShuffleNetV1:
    model = warmed("shufflenet_v1")
    assert isinstance(model, CifarShuffleNetV1)
    return model


def test_names_are_those_of_repdistiller(model: CifarShuffleNetV1) -> None:
    unit = [
        f"{kind}{i}.{key}" for i in (1, 2, 3) for kind, key in (("conv", "weight"), ("bn", "weight"), ("bn", "bias"))
    ]
    expected = ["conv1.weight", "bn1.weight", "bn1.bias"]
    for stage, units in enumerate(UNITS, start=1):
        expected += [f"layer{stage}.{index}.{name}" for index in range(units) for name in unit]
    assert [name for name, _ in model.named_parameters()] == [*expected, "linear.weight", "linear.bias"]
    state = model.state_dict()
    assert len(state) == 296
    assert state["conv1.weight"].shape == (24, 3, 1, 1)
    assert state["layer1.0.conv1.weight"].shape == (54, 24, 1, 1)  # not grouped
    assert state["layer1.0.conv3.weight"].shape == (216, 18, 1, 1)
    assert state["layer2.0.conv1.weight"].shape == (60, 80, 1, 1)
    assert state["layer3.3.conv2.weight"].shape == (240, 1, 3, 3)
    assert state["linear.weight"].shape == (100, 960)


def test_forward_is_the_definition(model: CifarShuffleNetV1) -> None:
    s = model.state_dict()

    def convolve(x: Tensor, at: str, index: int, stride: int = 1) -> Tensor:
        return normalised(s, x, f"{at}conv{index}", f"{at}bn{index}", stride)

    images = torch.rand(1, 3, 32, 32)
    x = convolve(images, "", 1).relu()
    for stage, units in enumerate(UNITS, start=1):
        for index in range(units):
            at = f"layer{stage}.{index}."
            out = convolve(x, at, 1).relu()
            if (stage, index) != (1, 0):
                out = F.channel_shuffle(out, 3)
            out = convolve(convolve(out, at, 2, 1 if index else 2).relu(), at, 3)
            x = (x + out if index else torch.cat([out, F.avg_pool2d(x, 3, 2, padding=1)], 1)).relu()
    check_outputs(model, images, x, x.mean((2, 3)), "linear")
