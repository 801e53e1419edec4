import math

import pytest
import torch
from definition import check_outputs, normalised, warmed
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.models import CifarMobileNetV2, TappedModel, build_model

# stage by stage: channels, blocks, stride
STAGES = [(8, 1, 1), (12, 2, 1), (16, 3, 2), (32, 4, 2), (48, 3, 1), (80, 3, 2), (160, 1, 1)]


@pytest.fixture(scope="module")
def model() -> CifarMobileNetV2:
    model = warmed("mobilenetv2")
    assert isinstance(model, CifarMobileNetV2)
    return model


def test_names_are_those_of_repdistiller(model: CifarMobileNetV2) -> None:
    expected = ["conv1.0.weight", "conv1.1.weight", "conv1.1.bias"]
    for stage, (_, blocks, _) in enumerate(STAGES):
        for index in range(blocks):
            for conv in (0, 3, 6):
                at = f"blocks.{stage}.{index}.conv"
                expected += [f"{at}.{conv}.weight", f"{at}.{conv + 1}.weight", f"{at}.{conv + 1}.bias"]
    expected += ["conv2.0.weight", "conv2.1.weight", "conv2.1.bias", "classifier.0.weight", "classifier.0.bias"]
    assert [name for name, _ in model.named_parameters()] == expected
    state = model.state_dict()
    assert len(state) == 320
    assert state["conv1.0.weight"].shape == (16, 3, 3, 3)
    assert state["blocks.0.0.conv.0.weight"].shape == (16, 16, 1, 1)
    assert state["blocks.1.0.conv.3.weight"].shape == (48, 1, 3, 3)
    assert state["blocks.6.0.conv.7.running_var"].shape == (160,)
    assert state["conv2.0.weight"].shape == (1280, 160, 1, 1)
    assert state["classifier.0.weight"].shape == (100, 1280)


def test_forward_is_the_definition(model: CifarMobileNetV2) -> None:
    s = model.state_dict()

    def convolve(x: Tensor, at: str, index: int, stride: int = 1) -> Tensor:
        return normalised(s, x, f"{at}.{index}", f"{at}.{index + 1}", stride)

    images = torch.rand(1, 3, 32, 32)
    x = convolve(images, "conv1", 0, 2).relu()
    for stage, (channels, blocks, stride) in enumerate(STAGES):
        for index in range(blocks):
            at = f"blocks.{stage}.{index}.conv"
            out = convolve(x, at, 0).relu()
            out = convolve(out, at, 3, stride if index == 0 else 1).relu()
            out = convolve(out, at, 6)
            x = x + out if index else out
            assert x.shape[1] == channels
    check_outputs(model, images, x, convolve(x, "conv2", 0).relu().mean((2, 3)), "classifier.0")


def test_it_starts_as_the_public_code_does() -> None:
    state = build_model("mobilenetv2", 100).state_dict()
    # The fan-out of a depthwise convolution counts all its channels, not the one of its group.
    depthwise = state["blocks.5.2.conv.3.weight"]
    assert depthwise.std().item() == pytest.approx(math.sqrt(2 / (9 * 480)), rel=0.1)
    assert state["classifier.0.weight"].std().item() == pytest.approx(0.01, rel=0.05)
    assert not state["classifier.0.bias"].any()


@pytest.mark.parametrize(("width", "last", "head"), [(0.25, 80, 1280), (1.0, 320, 1280), (1.5, 480, 1920)])
def test_other_widths(width: float, last: int, head: int) -> None:
    model = CifarMobileNetV2(width, 10)
    assert TappedModel(model).describe(32).features[0].channels == last
    assert model.state_dict()["classifier.0.weight"].shape == (10, head)


@pytest.mark.parametrize("width", [0.0, 0.06, -1.0, math.nan, math.inf])
def test_other_widths_are_refused(width: float) -> None:
    with pytest.raises(InputError, match="must be 1/16 or more"):
        CifarMobileNetV2(width, 10)
