import pytest
import torch
from definition import check_outputs, normalised, warmed
from torch import Tensor

from trg_pyg.models import CifarResNet50


@pytest.fixture(scope="module")
def model() -> CifarResNet50:
    model = warmed("resnet50")
    assert isinstance(model, CifarResNet50)
    return model


def test_names_are_those_of_repdistiller(model: CifarResNet50) -> None:
    block = [
        f"{kind}{i}.{key}" for i in (1, 2, 3) for kind, key in (("conv", "weight"), ("bn", "weight"), ("bn", "bias"))
    ]
    shortcut = ["shortcut.0.weight", "shortcut.1.weight", "shortcut.1.bias"]
    expected = ["conv1.weight", "bn1.weight", "bn1.bias"]
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for index in range(blocks):
            expected += [f"layer{stage}.{index}.{name}" for name in block + (shortcut if index == 0 else [])]
    assert [name for name, _ in model.named_parameters()] == [*expected, "linear.weight", "linear.bias"]
    state = model.state_dict()
    assert len(state) == 320
    assert state["conv1.weight"].shape == (64, 3, 3, 3)
    assert state["layer1.0.shortcut.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer3.5.conv2.weight"].shape == (256, 256, 3, 3)
    assert state["layer4.0.conv1.weight"].shape == (512, 1024, 1, 1)
    assert state["linear.weight"].shape == (100, 2048)


def test_forward_is_the_definition(model: CifarResNet50) -> None:
    s = model.state_dict()

    def convolve(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        return normalised(s, x, conv, norm, stride)

    images = torch.rand(1, 3, 32, 32)
    x = convolve(images, "conv1", "bn1").relu()
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for index in range(blocks):
            at, stride = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            out = convolve(x, f"{at}.conv1", f"{at}.bn1").relu()
            out = convolve(out, f"{at}.conv2", f"{at}.bn2", stride).relu()
            shortcut = x if index else convolve(x, f"{at}.shortcut.0", f"{at}.shortcut.1", stride)
            x = (convolve(out, f"{at}.conv3", f"{at}.bn3") + shortcut).relu()
    check_outputs(model, images, x, x.mean((2, 3)), "linear", atol=1e-4)
