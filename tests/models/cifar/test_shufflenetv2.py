import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trg_pyg.models import CifarShuffleNetV2, TappedModel, build_model

UNITS = (3, 7, 3)


@pytest.fixture(scope="module")
def model() -> CifarShuffleNetV2:
    torch.manual_seed(0)
    model = build_model("shufflenet_v2", 100)
    assert isinstance(model, CifarShuffleNetV2)
    model(torch.rand(4, 3, 32, 32))  # running statistics other than 0 and 1
    return model.eval()


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
        weight = s[f"{at}conv{index}.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(s[f"{at}bn{index}.{key}"] for key in keys))

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

    logits, (feature,), embedding = TappedModel(model)(images)
    assert feature.min() == 0
    torch.testing.assert_close(feature, x, rtol=1e-4, atol=1e-5)
    pooled = convolve(x, "", 2).relu().mean((2, 3))
    torch.testing.assert_close(embedding, pooled, rtol=1e-4, atol=1e-5)
    expected = pooled @ s["linear.weight"].T + s["linear.bias"]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_parameter() -> None:
    model = build_model("shufflenet_v2", 10)
    model(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
