import pytest
import torch

from experiments.config import read_choices
from experiments.study import fingerprint, pick_device, prepare, short_name
from trg_pyg.errors import InputError


def test_a_study_knows_its_data_networks_and_place(small, tmp_path):
    study = prepare(read_choices([*small, "--methods", "TRG", "--data.imbalance=4"]))
    assert study.splits.class_counts == (12, 6, 3)
    assert study.pairs["last"].student.features[0].grid == (4, 4)
    assert study.pairs["last"].teacher is not None
    assert study.folder == tmp_path / "runs" / "ImageFolder-LT4" / "resnet8-resnet8"
    assert study.name == "ImageFolder-LT4/resnet8-resnet8"
    assert study.shots["few"] == [0, 1, 2]


def test_no_teacher_is_built_where_no_method_needs_one(small):
    study = prepare(read_choices([*small, "--methods", "Vanilla", "--teacher.name=no_such_network"]))
    assert study.pairs["none"].teacher is None


def test_the_same_settings_have_the_same_fingerprint_whatever_their_order():
    assert fingerprint({"a": 1, "b": {"c": None}}) == fingerprint({"b": {"c": None}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_a_network_of_a_library_can_be_part_of_a_path():
    assert short_name("torchvision:resnet18") == "resnet18"
    assert short_name("timm:hf_hub/deit") == "hf_hub_deit"


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="device=abacus"):
        pick_device("abacus")
