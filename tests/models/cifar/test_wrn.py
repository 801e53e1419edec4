import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, WideResNet, wrn_16_1, wrn_16_2


def test_names_are_those_of_repdistiller() -> None:
    model = wrn_16_2()
    expected = ["conv1.weight"]
    for stage in (1, 2, 3):
        for index in (0, 1):
            names = ["bn1.weight", "bn1.bias", "conv1.weight", "bn2.weight", "bn2.bias", "conv2.weight"]
            names += ["convShortcut.weight"] if index == 0 else []
            expected += [f"block{stage}.layer.{index}.{name}" for name in names]
    expected += ["bn1.weight", "bn1.bias", "fc.weight", "fc.bias"]
    assert [name for name, _ in model.named_parameters()] == expected
    modules = dict(model.named_modules())
    assert {"relu", "block1.layer.0.relu1", "block1.layer.0.relu2"} <= modules.keys()


def test_equal_widths_need_no_projection() -> None:
    assert not any("block1" in name and "convShortcut" in name for name in wrn_16_1().state_dict())


def test_default_tap_is_the_last_block_before_its_activation() -> None:
    model = wrn_16_1().eval()
    logits, (feature, active), embedding = TappedModel(model, ["block3", "relu"])(torch.rand(2, 3, 32, 32))
    assert feature.min() < 0
    torch.testing.assert_close(model.bn1(feature).relu(), active)
    torch.testing.assert_close(embedding, active.mean((2, 3)))
    torch.testing.assert_close(model.fc(embedding), logits)


def test_dropout_acts_in_training_only() -> None:
    model = WideResNet(10, 1, 10, dropout=0.5)
    images = torch.rand(2, 3, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("args", "message"),
    [((18, 1, 10), "depth 18"), ((16, 0, 10), "widen_factor 0"), ((16, 1, 10, 1.0), "dropout 1.0")],
)
def test_bad_arguments_are_refused(args: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WideResNet(*args)
