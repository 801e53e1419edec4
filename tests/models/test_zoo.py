import io
import os
import sys
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

import trg_pyg.models
from trg_pyg.errors import InputError
from trg_pyg.models import CifarResNet, TappedModel, WideResNet, build_model


class TinyNet(nn.Module):
    """A network of a third party."""

    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(images).mean((2, 3)))


def buggy(num_classes: int) -> nn.Module:
    return len(num_classes)  # type: ignore[arg-type]


def no_network(num_classes: int) -> int:
    return num_classes


@pytest.fixture(autouse=True)
def _third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "third_party", sys.modules[__name__])


def message(name: str, num_classes: int = 10, **args: Any) -> str:
    with pytest.raises(InputError) as caught:
        build_model(name, num_classes, **args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Trap:
    """What a pickle can do: it makes a folder when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("never", [None, "1"])
def test_a_downloaded_file_that_would_run_code_is_refused(tmp_path, monkeypatch, never) -> None:
    """Torchvision reads what lies in the cache of downloads without looking at its hash, and lets it run code."""
    file, marker = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth", tmp_path / "marker"
    file.parent.mkdir(parents=True)
    torch.save({"fc.weight": Trap(marker)}, file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    if never is not None:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", never)
    environment = dict(os.environ)
    text = message("torchvision:resnet18", 1000, weights="IMAGENET1K_V1")
    assert "its weights file was not read, since it would run code or is damaged; delete the file" in text
    assert not marker.exists()
    assert dict(os.environ) == environment
    torchvision.models.resnet.ResNet18_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True)
    assert marker.exists()  # the bait works


def test_a_file_for_timm_that_would_run_code_is_refused(tmp_path) -> None:
    pytest.importorskip("timm")
    torch.save({"fc.weight": Trap(tmp_path / "marker")}, tmp_path / "net.pth")
    text = message("timm:resnet18", checkpoint_path=str(tmp_path / "net.pth"))
    assert "its weights file was not read, since it would run code" in text
    assert not (tmp_path / "marker").exists()


def test_a_download_with_another_hash_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.save({}, tmp_path / "other.pth")
    content = (tmp_path / "other.pth").read_bytes()

    class Answer(io.BytesIO):
        def info(self) -> Message:
            return Message()

    monkeypatch.setattr("torch.hub.urlopen", lambda *args, **kwargs: Answer(content))
    text = message("torchvision:resnet18", 1000, weights="IMAGENET1K_V1")
    assert "its weights file was not read, since its hash is not the published one" in text
    assert not list(tmp_path.glob("hub/checkpoints/*"))


def test_an_error_of_a_network_of_ones_own_stays_as_it_is(monkeypatch) -> None:
    def fails(num_classes: int) -> nn.Module:
        raise RuntimeError("something else")

    monkeypatch.setattr(sys.modules[__name__], "no_network", fails)
    with pytest.raises(RuntimeError, match=r"^something else$"):
        build_model("third_party.no_network", 3)


@pytest.mark.parametrize("name", ["..", ".", "../x", "/x", "torchvision:..", "timm:../x", "a/../../b", "a.b/../../c"])
def test_a_name_that_would_lead_out_of_a_folder_is_that_of_no_network(name) -> None:
    message(name)


def test_own_networks_are_found_without_a_list() -> None:
    assert isinstance(build_model("resnet8", 7), CifarResNet)
    assert isinstance(build_model("wrn_16_1", 7), WideResNet)
    vit = build_model("vit_tiny_patch4_32", 7, depth=1)
    assert vit(torch.rand(1, 3, 32, 32)).shape == (1, 7)


def test_a_new_function_is_a_model_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def my_net(num_classes: int = 10) -> TinyNet:
        return TinyNet(num_classes)

    monkeypatch.setattr(trg_pyg.models, "my_net", my_net, raising=False)
    monkeypatch.setattr(trg_pyg.models, "__all__", [*trg_pyg.models.__all__, "my_net"])
    assert isinstance(build_model("my_net", 3), TinyNet)


@pytest.mark.parametrize("name", ["build_model", "load_weights", "CifarResNet", "TappedModel"])
def test_helpers_and_classes_are_no_models(name: str) -> None:
    assert "is unknown" in message(name)


def test_unknown_name_gives_the_value_and_near_names() -> None:
    text = message("resnet2O")
    assert "'resnet2O'" in text
    assert "did you mean" in text
    assert "resnet20" in text


def test_wrong_argument_gives_its_name_and_the_accepted_ones() -> None:
    assert message("vit_tiny_patch4_32", deep=3).endswith(
        "got an unexpected keyword argument 'deep'; accepted: num_classes, image_size, depth"
    )
    assert "missing a required argument: 'depth'" in message("trg_pyg.models.CifarResNet")


def test_number_of_classes_is_positive() -> None:
    assert "num_classes 0" in message("resnet8", 0)


def test_torchvision_network() -> None:
    model = build_model("torchvision:shufflenet_v2_x0_5", 7)
    assert TappedModel(model).describe(64).num_classes == 7


def test_torchvision_transformer_tells_its_class_token() -> None:
    model = build_model("torchvision:vit_b_32", 7, image_size=64)
    assert TappedModel(model).describe(64).features[0].grid == (2, 2)


def test_torchvision_errors() -> None:
    assert "did you mean resnet18" in message("torchvision:resnet17")
    assert "list_models() lists them" in message("torchvision:zzzzzzzz")
    text = message("torchvision:resnet18", widht=3)
    assert "'widht'" in text
    assert "zero_init_residual" in text
    assert "'block'" in message("torchvision:resnet18", block=3)


def test_timm_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert message("timm:resnet18").endswith("needs timm; run: pip install 'trg_pyg[timm]'")


def test_timm_network() -> None:
    pytest.importorskip("timm")
    model = build_model("timm:deit_tiny_patch16_224", 7, img_size=32, depth=2)
    info = TappedModel(model).describe(32)
    assert info.num_classes == 7
    assert [(f.path, f.layout, f.channels, f.grid, f.prefix_tokens) for f in info.features] == [
        ("norm", "sequence", 192, (2, 2), 1)
    ]
    build_model("timm:resnet18.a1_in1k", 7)


def test_timm_errors() -> None:
    pytest.importorskip("timm")
    assert "did you mean deit_tiny_patch16_224" in message("timm:deit_tiny_patch16_225")
    assert "list_models() lists them" in message("timm:zzzzzzzz")
    assert "a1_in1k" in message("timm:resnet18.a1_in2k")
    text = message("timm:deit_tiny_patch16_224", image_sise=3)
    assert "'image_sise'" in text
    assert "img_size" in text


def test_dotted_path() -> None:
    model = build_model("third_party.TinyNet", 5, width=6)
    assert isinstance(model, TinyNet)
    assert model.fc.weight.shape == (5, 6)


def test_dotted_path_errors() -> None:
    assert "did you mean TinyNet" in message("third_party.TinyNt")
    assert "can't import 'no_such_package'" in message("no_such_package.Net")
    assert "accepted: num_classes, width" in message("third_party.TinyNet", hight=3)
    assert "gives a int" in message("third_party.no_network")
    assert "no source 'keras'" in message("keras:resnet")
    for name in ("", ".", "third_party.", ".Net"):
        message(name)


def test_a_bug_in_a_network_keeps_its_traceback() -> None:
    with pytest.raises(TypeError, match="has no len"):
        build_model("third_party.buggy", 5)


def test_weights_that_a_library_does_not_have_or_cannot_fetch(monkeypatch) -> None:
    with pytest.raises(InputError, match="torchvision:resnet18' has no weights 'NOPE'"):
        build_model("torchvision:resnet18", 1000, weights="NOPE")

    def offline(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", offline)
    with pytest.raises(InputError, match=r"weights can't be had: .*no route to host.*; check the connection"):
        build_model("torchvision:resnet18", 1000, weights="IMAGENET1K_V1")
