import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from trg_pyg.errors import InputError
from trg_pyg.models import Pretrained, build_model, pretrained, resnet8, save_weights
from trg_pyg.models.pretrained import structure

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("torchvision:resnet18", {"weights": "DEFAULT"}, Pretrained(*IMAGENET, 224, "bilinear")),
        ("torchvision:resnet18", {"weights": "ResNet18_Weights.IMAGENET1K_V1"}, Pretrained(*IMAGENET, 224, "bilinear")),
        ("torchvision:vit_b_16", {"weights": "IMAGENET1K_SWAG_E2E_V1"}, Pretrained(*IMAGENET, 384, "bicubic")),
        ("timm:tf_efficientnet_lite0", {"pretrained": True}, Pretrained(*HALF, 224, "bicubic")),
        ("timm:tf_efficientnet_lite0.in1k", {"pretrained": True}, Pretrained(*HALF, 224, "bicubic")),
        ("timm:resnet18", {"pretrained": True, "pretrained_cfg_overlay": {"mean": HALF[0]}}, (HALF[0], IMAGENET[1])),
        ("torchvision:resnet18", {"weights": None}, None),
        ("timm:resnet18", {}, None),
        ("resnet8", {}, None),
    ],
)
def test_what_the_libraries_say_of_their_weights(name: str, args: dict[str, Any], expected: Any) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    found = pretrained(name, args, None, True)
    assert ((found.mean, found.std) if isinstance(expected, tuple) and found is not None else found) == expected


def test_weights_that_torchvision_does_not_have_are_refused() -> None:
    with pytest.raises(InputError, match="has no weights 'NOPE'; known: DEFAULT, IMAGENET1K_V1"):
        pretrained("torchvision:resnet18", {"weights": "NOPE"}, None, True)


def test_a_file_says_what_it_expects_or_its_name_does_where_it_was_trained_elsewhere(tmp_path: Path) -> None:
    bare = tmp_path / "vit_b_16_lc_swag-4e70ced5.pth"  # torchvision's own name of one of three files
    assert pretrained("torchvision:vit_b_16", {}, bare, True) == Pretrained(
        *IMAGENET, 224, "bicubic", {"image_size": 224}
    )
    assert pretrained("torchvision:vit_b_16", {}, bare, False) is None
    own = tmp_path / "own.safetensors"
    save_weights(resnet8(), own, {"epoch": "3", "mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]"})
    assert pretrained("torchvision:resnet18", {}, own, False) == Pretrained((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_weights(resnet8(), own, {"epoch": "3"})  # by this package, before it kept them
    assert pretrained("torchvision:resnet18", {}, own, True) is None


def test_a_file_that_began_in_tensorflow_has_its_input_transformed() -> None:
    found = pretrained("torchvision:googlenet", {}, "googlenet-1378be20.pth", True)
    assert found is not None
    assert found.args == {"transform_input": True, "init_weights": False}


def description(folder: Path, **about: Any) -> str:
    described = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 96, 96], "interpolation": "bicubic"}
    content = {"architecture": "test_vit", "pretrained_cfg": described | {"fixed_input_size": True}} | about
    (folder / "config.json").write_text(json.dumps(content))
    return f"local-dir:{folder}"


def test_a_hub_says_what_its_weights_expect_and_how_the_network_is_built(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    place = description(tmp_path, model_args={"depth": 2})
    expected = Pretrained((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 96, "bicubic", {"depth": 2, "img_size": 96})
    assert pretrained("timm:test_vit", {}, place, False) == expected


def test_a_hub_with_another_network_or_nothing_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"no config\.json of timm can be had \(FileNotFoundError"):
        pretrained("timm:test_vit", {}, f"local-dir:{tmp_path}", True)
    with pytest.raises(InputError, match="they are those of timm:test_vit, not of resnet8; name that network"):
        pretrained("resnet8", {}, description(tmp_path), True)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier.1"),
        ("googlenet", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
    ],
)
def test_torchvisions_weights_get_a_new_head_for_other_classes(monkeypatch, name: str, head: str) -> None:
    torch.manual_seed(0)
    build = torchvision.models.get_model_builder(name)
    published = build(**({"init_weights": False} if name == "googlenet" else {})).state_dict()
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *args, **kwargs: published)
    model = build_model(f"torchvision:{name}", 5, weights="DEFAULT")
    own = model.state_dict()
    new = {key for key in own if key.startswith(f"{head}.")}
    assert not any(own[key].any() for key in new)
    assert own[f"{head}.weight"].shape[0] == 5
    assert all(torch.equal(own[key], published[key]) for key in own.keys() - new)
    assert str(model.new_head).endswith("from zero (1,000 classes there, 5 here)")
    # What is kept of it takes no weights of torchvision, and is the same function.
    later = build_model(f"torchvision:{name}", 5, **structure(f"torchvision:{name}", {"weights": "DEFAULT"}))
    nn.init.ones_(own[f"{head}.weight"])
    later.load_state_dict(own)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(later.eval()(images), model.eval()(images))


def test_timms_weights_get_a_new_head_that_starts_at_zero(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "net.pth")
    overlay = {"file": str(tmp_path / "net.pth")}
    model = build_model("timm:test_efficientnet", 5, pretrained=True, pretrained_cfg_overlay=overlay)
    assert model.new_head == "classifier from zero (1,000 classes there, 5 here)"
    assert not model.get_submodule("classifier").weight.any()


def test_a_checkpoint_of_other_classes_is_to_be_given_as_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "net.pth")
    with pytest.raises(InputError, match="is of another network or of other classes; give it as the weights of"):
        build_model("timm:test_efficientnet", 5, checkpoint_path=str(tmp_path / "net.pth"))
