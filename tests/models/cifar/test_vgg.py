import math

import pytest
import torch
from definition import check_outputs, normalised, warmed
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
    model, images = warmed("vgg13"), torch.rand(1, 3, size, size)
    s, x = model.state_dict(), images
    for block in range(5):
        x = normalised(s, x, f"block{block}.0", f"block{block}.1").relu()
        x = normalised(s, x, f"block{block}.3", f"block{block}.4").relu()
        if block in pooled:
            x = F.max_pool2d(x, 2)
    assert x.shape == (1, 512, 4, 4)
    check_outputs(model, images, x, x.mean((2, 3)), "classifier")


def test_every_activated_map_can_be_tapped() -> None:
    features = TappedModel(vgg8(), [f"relu{i}" for i in range(5)]).eval()(torch.rand(1, 3, 32, 32)).features
    assert [f.shape[1:] for f in features] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]
    assert all(f.min() == 0 for f in features)


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
