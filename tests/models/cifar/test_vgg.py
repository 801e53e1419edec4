import math

import pytest
import torch
from torch.nn import functional as F

from trg_pyg.errors import InputError
from trg_pyg.models import CifarVGG, TappedModel, vgg8, vgg13


def test_names_are_those_of_repdistiller() -> None:
    expected = []
    for block in range(5):
        for conv in (0, 3):
            expected += [f"block{block}.{conv}.weight", f"block{block}.{conv}.bias"]
            expected += [f"block{block}.{conv + 1}.weight", f"block{block}.{conv + 1}.bias"]
    model = vgg13(100)
    assert [name for name, _ in model.named_parameters()] == [*expected, "classifier.weight", "classifier.bias"]
    state = model.state_dict()
    assert state["block0.0.weight"].shape == (64, 3, 3, 3)
    assert state["block2.3.weight"].shape == (256, 256, 3, 3)
    assert state["block4.4.running_mean"].shape == (512,)
    assert state["classifier.weight"].shape == (100, 512)


@pytest.mark.parametrize(("size", "pooled"), [(32, (0, 1, 2)), (64, (0, 1, 2, 3))])
def test_forward_is_the_definition(size: int, pooled: tuple[int, ...]) -> None:
    model = vgg13()
    model(torch.rand(4, 3, 32, 32))  # running statistics other than 0 and 1
    s, x = model.state_dict(), torch.rand(1, 3, size, size)
    logits, (feature,), embedding = TappedModel(model.eval())(x)
    for block in range(5):
        for conv in (f"block{block}.0", f"block{block}.3"):
            x = F.conv2d(x, s[f"{conv}.weight"], s[f"{conv}.bias"], padding=1)
            norm = conv[:-1] + str(int(conv[-1]) + 1)
            x = F.batch_norm(x, *(s[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")))
            x = x.clamp(min=0)
        if block in pooled:
            x = F.max_pool2d(x, 2)
    assert x.shape == (1, 512, 4, 4)
    torch.testing.assert_close(feature, x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(embedding, x.mean((2, 3)), rtol=1e-4, atol=1e-5)
    expected = x.mean((2, 3)) @ s["classifier.weight"].T + s["classifier.bias"]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_every_activated_map_can_be_tapped() -> None:
    features = TappedModel(vgg8(), [f"relu{i}" for i in range(5)]).eval()(torch.rand(1, 3, 32, 32)).features
    assert [f.shape[1:] for f in features] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]
    assert all(f.min() == 0 for f in features)


def test_gradient_reaches_every_parameter() -> None:
    # In evaluation: the statistics of a batch take every bias before them away, and its gradient with it.
    model = vgg13().eval()
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    missed = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missed == []


def test_it_starts_as_the_public_code_does() -> None:
    state = vgg8(100).state_dict()
    assert state["block4.0.weight"].std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)
    assert state["classifier.weight"].std().item() == pytest.approx(0.01, rel=0.05)
    assert not state["block4.0.bias"].any()
    assert not state["classifier.bias"].any()


@pytest.mark.parametrize("convolutions", [(1, 1, 1, 1), (1, 1, 0, 1, 1), (1, 1, 1, 1, 1, 1)])
def test_blocks_are_five_and_not_empty(convolutions: tuple) -> None:
    with pytest.raises(InputError, match="not five numbers"):
        CifarVGG(convolutions, 10)
