import pytest
import torch
from torch import nn

from trg_pyg.errors import InputError
from trg_pyg.models import Projected, build_model, load_weights, make_projector, restore_projector, save_weights


def test_a_finer_map_is_averaged_before_it_is_projected():
    seen = []
    module = Projected(nn.Identity(), nn.Identity(), (1, 2))
    module.projector.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(torch.tensor([[1.0, 3.0, 5.0, 7.0], [1.0, 3.0, 5.0, 7.0]]).view(1, 1, 2, 4))
    assert seen[0].flatten().tolist() == [2, 6]


def test_weights_without_a_projector_leave_a_network_as_it_is(tmp_path):
    model = build_model("resnet8", 5)
    names = list(model.state_dict())
    restore_projector(model, model.state_dict())
    assert list(model.state_dict()) == names


def test_a_projector_of_another_network_is_no_part_of_this_one(tmp_path):
    wide = build_model("resnet8", 5)
    wide.set_submodule("layer3", Projected(wide.layer3, make_projector(64, 8, 16), (4, 4)))
    save_weights(wide, tmp_path / "wide.safetensors", {})
    with pytest.raises(InputError, match="the file is of another network"):
        load_weights(build_model("vgg8", 5), tmp_path / "wide.safetensors")


def test_a_projector_has_channels():
    with pytest.raises(InputError, match="projector from 3 over 0 to 2 channels: each is at least 1"):
        make_projector(3, 0, 2)
