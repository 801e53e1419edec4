import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trg_pyg.errors import InputError
from trg_pyg.models import load_weights, resnet8, resnet8x4, resnet14, save_weights


def states_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def trained() -> nn.Module:
    """A network none of whose values is an initial one."""
    model = resnet8()
    for tensor in model.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) * 100)
    return model


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def refusal(model: nn.Module, path: Path) -> str:
    """The message of the error, after a check that the network is untouched."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(model, path)
    assert states_equal(before, model.state_dict())
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_safetensors_round_trip(tmp_path: Path) -> None:
    source, target, path = trained(), resnet8(), tmp_path / "new" / "net.safetensors"
    save_weights(source, path, {"accuracy": "66.74", "data": "CIFAR-100"})
    loaded = load_weights(target, path)
    assert states_equal(source.state_dict(), target.state_dict())
    assert loaded.path == path
    assert loaded.accuracy == 66.74
    assert loaded.metadata == {"accuracy": "66.74", "data": "CIFAR-100"}
    assert len(loaded.sha256) == 64
    assert os.listdir(path.parent) == ["net.safetensors"]


def test_accuracy_is_optional(tmp_path: Path) -> None:
    save_weights(resnet8(), tmp_path / "a.safetensors", {})
    assert load_weights(resnet8(), str(tmp_path / "a.safetensors")).accuracy is None


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "best_acc": 66.74, "opt": argparse.Namespace(model="resnet8"), "epoch": 3},
        lambda state: {"epoch": 240, "model": state, "accuracy": torch.tensor([66.74]), "optimizer": {"state": {}}},
        lambda state: {"epoch": 240, "model": state, "optimizer": {"state": {}}, "best_acc": torch.tensor(66.74)},
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "best_acc": torch.tensor(66.74)},
        lambda state: {"model_state_dict": state, "best_acc": torch.tensor([66.74])},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"model": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name.replace("layer1.", "layer1._orig_mod."): tensor for name, tensor in state.items()},
        lambda state: {"state_dict": under("net.", state) | {"loss.weight": torch.ones(9)}, "epoch": 3, "loops": {}},
        lambda state: under("module.", state) | {"n_averaged": torch.tensor(3)},
        lambda state: {"model": under("student.", state) | under("teacher.", resnet14().state_dict())},
        lambda state: {"net": state, "acc": torch.tensor(66.74), "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {**state, "epoch": 3, "note": "as saved"},
        lambda state: {"model": state, "best_acc": np.float64(66.74), "loss": np.float32(1), "epoch": np.int64(3)},
    ],
    ids=[
        *("bare", "repdistiller_best", "repdistiller_epoch", "mdistiller", "mdistiller_student"),
        *("state_dict", "model_state_dict", "data_parallel", "compiled", "compiled_part", "lightning", "averaged"),
        *("whole_distiller", "another_name", "with_other_keys", "numpy"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "pth.tar", "pt"])
def test_torch_formats(tmp_path: Path, wrap: Any, suffix: str) -> None:
    source, target, path = trained(), resnet8(), tmp_path / f"net.{suffix}"
    content = wrap(source.state_dict())
    torch.save(content, path, _use_new_zipfile_serialization=suffix != "pth")
    loaded = load_weights(target, path)
    assert states_equal(source.state_dict(), target.state_dict())
    assert loaded.accuracy == (pytest.approx(66.74) if {"best_acc", "accuracy"} & set(content) else None)


def test_what_an_old_pytorch_saved_from_a_gpu_loads_without_one(tmp_path: Path) -> None:
    source, target, path = trained(), resnet8(), tmp_path / "old.pth"
    torch.save({"model": source.state_dict()}, path, _use_new_zipfile_serialization=False)
    # PyTorch before 1.6 named the storage after its device; today's names the same storages without it.
    old = {b"ctorch\nFloatStorage": b"ctorch.cuda\nFloatStorage", b"X\3\0\0\0cpu": b"X\6\0\0\0cuda:0"}
    content = path.read_bytes()
    for now, then in old.items():
        assert now in content
        content = content.replace(now, then)
    path.write_bytes(content)
    load_weights(target, path)
    assert states_equal(source.state_dict(), target.state_dict())


@pytest.mark.parametrize(("accuracy", "expected"), [(70.0, 70.0), (0.0, 0.0), (None, 75.0)])
def test_the_accuracy_of_these_weights_comes_before_the_best_one(
    tmp_path: Path, accuracy: float | None, expected: float
) -> None:
    content = {"model": resnet8().state_dict(), "best_acc": 75.0, "accuracy": accuracy}
    torch.save(content, tmp_path / "net.pth")
    assert load_weights(resnet8(), tmp_path / "net.pth").accuracy == expected


@pytest.mark.parametrize("prefix", ["module", "_orig_mod"])
def test_wrapped_network_loads_and_saves_plain_names(tmp_path: Path, prefix: str) -> None:
    source, wrapped, back = trained(), nn.Module(), resnet8()
    save_weights(source, tmp_path / "plain.safetensors", {})
    wrapped.add_module(prefix, resnet8())
    load_weights(wrapped, tmp_path / "plain.safetensors")
    save_weights(wrapped, tmp_path / "again.safetensors", {})
    load_weights(back, tmp_path / "again.safetensors")
    assert states_equal(source.state_dict(), back.state_dict())


def test_files_older_than_the_batch_counters_load(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in trained().state_dict().items() if "num_batches_tracked" not in name}
    torch.save(state, tmp_path / "old.pth")
    model = resnet8()
    load_weights(model, tmp_path / "old.pth")
    assert torch.equal(model.fc.weight, state["fc.weight"])
    assert model.bn1.num_batches_tracked == 0


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "tied.safetensors", {})
    load_weights(model, tmp_path / "tied.safetensors")


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    content = {"model": resnet8().state_dict(), "opt": Evil(tmp_path / "ran")}
    path = tmp_path / "evil.pth"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"opt": Evil(tmp_path / "ran")}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    text = refusal(resnet8(), path)
    assert "refused" in text
    assert "mkdir" in text
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Evil(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()  # the bait works


@pytest.mark.parametrize(("content", "reason"), [(b"<html>no</html>", "Unsupported operand 60"), (b"", "EOFError")])
def test_what_is_no_weights_file_is_refused_without_advice_to_read_it_unsafely(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "page.pth").write_bytes(content)
    text = refusal(resnet8(), tmp_path / "page.pth")
    assert text.endswith(f"damaged or no PyTorch file: {reason}")


@pytest.mark.parametrize("beside", [Path("x"), np.zeros(2)])
def test_no_class_but_the_namespace_and_numbers_is_let_in(tmp_path: Path, beside: Any) -> None:
    torch.save({"model": resnet8().state_dict(), "where": beside}, tmp_path / "net.pth")
    assert "refused" in refusal(resnet8(), tmp_path / "net.pth")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(resnet8(), tmp_path / "none.pth")
    assert "no such file" in refusal(resnet8(), tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    save_weights(resnet8(), folder / "net.safetensors", {})
    torch.save(resnet8().state_dict(), folder / "net.pth")
    torch.save(resnet8().state_dict(), folder / "net.pt", _use_new_zipfile_serialization=False)
    return folder


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.pt"])
@settings(max_examples=25)
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncated_file(tmp_path: Path, whole: Path, name: str, part: float) -> None:
    path = tmp_path / name
    content = (whole / name).read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert "damaged" in refusal(resnet8(), path)


def test_an_archive_whose_list_of_members_is_no_text(tmp_path: Path, whole: Path) -> None:
    head, member, tail = (whole / "net.pth").read_bytes().rpartition(b"net/data/1")
    (tmp_path / "net.pth").write_bytes(head + b"\x80" + member[1:] + tail)
    assert "damaged" in refusal(resnet8(), tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["junk.safetensors", "junk.pth"])
@settings(max_examples=50)
@given(content=st.binary(max_size=200))
def test_junk(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refusal(resnet8(), path)


@pytest.mark.parametrize("content", [{"a": 1}, {}, 3, {"model": {"epoch": 3}}, [torch.zeros(2)]])
def test_no_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "net.pth")
    assert "no state dict" in refusal(resnet8(), tmp_path / "net.pth")


def test_another_network_lists_the_first_differences(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(resnet8(), path, {})
    text = refusal(resnet14(), path)
    assert "another network: lacks layer1.1.conv1.weight, layer1.1.bn1.weight, layer1.1.bn1.bias and" in text
    text = refusal(resnet8x4(), path)
    assert "lacks layer1.0.downsample.0.weight" in text
    assert "other shapes conv1.weight [16, 3, 3, 3] for [32, 3, 3, 3]" in text
    save_weights(resnet14(), path, {})
    assert "has besides layer1.1.bn1.bias, layer1.1.bn1.num_batches_tracked, layer1.1.bn1.running_mean and" in refusal(
        resnet8(), path
    )


def test_another_number_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(resnet8(100), path, {})
    assert "weights have 100 classes, data have 10 (fc.weight)" in refusal(resnet8(10), path)


def test_a_network_that_is_trained_further_starts_with_a_new_head_where_the_files_is_another(tmp_path: Path) -> None:
    source, target = resnet8(100), resnet8(10)
    torch.save({"state_dict": under("net.", source.state_dict())}, tmp_path / "net.pth")
    loaded = load_weights(target, tmp_path / "net.pth", head="fc")
    assert loaded.new_head == "fc.weight, fc.bias from zero (100 classes there, 10 here)"
    assert not target.fc.weight.any()
    assert torch.equal(target.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    assert load_weights(resnet8(100), tmp_path / "net.pth", head="fc").new_head == ""


def test_a_file_without_a_classifier_is_taken_for_a_network_that_is_trained_further(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in trained().state_dict().items() if not name.startswith("fc.")}
    torch.save(state, tmp_path / "body.pth")
    assert load_weights(resnet8(), tmp_path / "body.pth", "fc").new_head.endswith(
        "from zero (the file has no classifier)"
    )
    assert "lacks fc.weight, fc.bias" in refusal(resnet8(), tmp_path / "body.pth")


def test_only_the_head_may_be_another(tmp_path: Path) -> None:
    # The first convolution of 16 channels, as many as there are classes, is no classifier.
    state = {name: tensor for name, tensor in resnet8(16).state_dict().items() if not name.startswith("conv1.")}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"lacks conv1\.weight"):
        load_weights(resnet8(16), tmp_path / "net.pth", head="fc")


def test_the_accuracy_of_a_whole_distiller_is_not_its_teachers(tmp_path: Path) -> None:
    state = under("student.", resnet14().state_dict()) | under("teacher.", resnet8().state_dict())
    torch.save({"model": state, "best_acc": 66.0}, tmp_path / "net.pth")
    assert load_weights(resnet8(), tmp_path / "net.pth").accuracy is None
    assert load_weights(resnet14(), tmp_path / "net.pth").accuracy == 66.0


def test_what_could_be_either_of_two_is_refused(tmp_path: Path) -> None:
    state = resnet8().state_dict()
    torch.save({"model": under("student.", state) | under("teacher.", state)}, tmp_path / "net.pth")
    assert "several networks in it fit, under 'student.', 'teacher.'" in refusal(resnet8(), tmp_path / "net.pth")
    torch.save({"old": state, "new": state}, tmp_path / "net.pth")
    assert "several state dicts, under old, new, and none under model" in refusal(resnet8(), tmp_path / "net.pth")


def test_a_prefix_is_named_where_what_is_under_it_does_not_fit(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in resnet8().state_dict().items() if name != "bn1.weight"}
    torch.save(under("net.", state) | {"loss.weight": torch.ones(1)}, tmp_path / "net.pth")
    assert "another network: lacks bn1.weight; all under 'net.'" in refusal(resnet8(), tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_programs_are_named_as_such(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    torch.jit.trace(net, torch.zeros(1, 2)).save(str(tmp_path / "net.pt"))
    assert "a TorchScript program, which is code" in refusal(net, tmp_path / "net.pt")
    torch.export.save(torch.export.export(net, (torch.zeros(1, 2),)), tmp_path / "net.pt2")
    assert "a torch.export program, which is code" in refusal(net, tmp_path / "net.pt2")


def test_endings_in_capitals_are_read(tmp_path: Path) -> None:
    save_weights(resnet8(), tmp_path / "net.safetensors", {"accuracy": "66.74"})
    (tmp_path / "net.safetensors").rename(tmp_path / "NET.SAFETENSORS")
    assert load_weights(resnet8(), tmp_path / "NET.SAFETENSORS").accuracy == 66.74


def test_accuracy_that_is_no_number(tmp_path: Path) -> None:
    save_weights(resnet8(), tmp_path / "net.safetensors", {"accuracy": "good"})
    assert "'good' is no number" in refusal(resnet8(), tmp_path / "net.safetensors")
    torch.save({"model": resnet8().state_dict(), "best_acc": torch.zeros(2, 3)}, tmp_path / "net.pth")
    assert "is no number" in refusal(resnet8(), tmp_path / "net.pth")


def test_save_checks_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        save_weights(resnet8(), tmp_path / "net.pth", {})
    with pytest.raises(InputError, match="must be strings"):
        save_weights(resnet8(), tmp_path / "net.safetensors", {"accuracy": 66.74})  # type: ignore[dict-item]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(resnet8(), path, {"accuracy": "1"})

    def fail(*args: Any) -> None:
        raise OSError("disk")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk"):
        save_weights(resnet8(), path, {"accuracy": "2"})
    assert os.listdir(tmp_path) == ["net.safetensors"]
    assert load_weights(resnet8(), path).accuracy == 1.0
