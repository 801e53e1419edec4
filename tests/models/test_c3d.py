"""Networks of clips: their maps are volumes."""

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models import Normalize, TappedModel, build_model
from trg_pyg.models.cost import cost

CLIP = torch.zeros(1, 3, 4, 16, 16, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "args", "last"),
    [("c3d", {"width": 2}, ("stage3", 8, (2, 2, 2))), ("torchvision:r3d_18", {}, ("layer4", 512, (1, 1, 1)))],
)
def test_taps_are_volumes_of_cells_in_time_and_place(name, args, last):
    network = TappedModel(build_model(name, 5, **args), "stages")
    info = network.describe(CLIP)
    tap = info.features[-1]
    assert (tap.path, tap.channels, tap.grid) == last
    assert {each.layout for each in info.features} == {"volume"}
    assert info.num_classes == 5
    outputs = network.eval()(torch.zeros(2, *CLIP.shape[1:]))
    assert [each.shape for each in outputs.features] == [(2, *each.shape) for each in info.features]
    assert outputs.embedding.shape == (2, info.embedding)
    assert cost(network.model, CLIP).flops > 0


def test_the_order_of_frames_counts():
    torch.manual_seed(0)
    network = build_model("c3d", 5, width=2).eval()
    clips = torch.rand(2, 3, 4, 16, 16)
    assert not torch.allclose(network(clips), network(clips.flip(2)))


def test_clips_are_normalised_by_channel():
    clips = torch.rand(2, 3, 4, 5, 6)
    normalize = Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    frames = [normalize(clips[:, :, frame]) for frame in range(4)]
    assert torch.equal(normalize(clips), torch.stack(frames, dim=2))


def test_other_clips_than_were_described_and_networks_of_images_are_refused():
    network = TappedModel(build_model("c3d", 5, width=2))
    network.describe(CLIP)
    with pytest.raises(InputError, match=r"described with clips of 4 frames of 16x16, and these are clips of 5 frames"):
        network(torch.zeros(2, 3, 5, 16, 16))
    with pytest.raises(InputError, match="does not take clips of 4 frames of 16x16"):
        TappedModel(build_model("resnet8", 5)).describe(CLIP)
    with pytest.raises(InputError, match="c3d width 0: give 1 or more"):
        build_model("c3d", 5, width=0)
