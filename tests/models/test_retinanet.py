import copy

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator

from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, build_model, retinanet


def test_levels_are_the_last_stages_and_two_coarser_ones():
    info = TappedModel(retinanet(3, channels=16), "stages").describe((32, 64))
    found = [(tap.path, tap.channels, tap.grid) for tap in info.features]
    assert found == [
        ("fpn.extra_blocks.p7", 16, (2, 4)),
        ("fpn.extra_blocks.p6", 16, (4, 8)),
        ("fpn.layer_blocks.1", 16, (8, 16)),
        ("fpn.layer_blocks.0", 16, (16, 32)),
    ]
    assert (info.num_classes, info.pixels) == (3 + 8, (9 * (8 + 32 + 128 + 512),))


def test_anchors_are_shares_of_the_sides_and_four_cells_wide_at_the_least():
    network = retinanet(2, stages=1, channels=8).eval()
    anchors = network(torch.zeros(2, 3, 32, 64))[:, -4:].mT
    assert torch.equal(anchors[0], anchors[1])
    pixels = anchors[0] * torch.tensor([64, 32, 64, 32])
    square = pixels[3]  # of the first cell: three sizes of each shape, the flat ones first
    assert square.tolist() == [-8, -8, 8, 8]
    cells = AnchorGenerator(((16, 16 * 2 ** (1 / 3), 16 * 2 ** (2 / 3)),), ((0.5, 1.0, 2.0),)).cell_anchors[0]
    torch.testing.assert_close(pixels[9:18], cells + torch.tensor([4, 0, 4, 0]))  # one cell to the right


def test_anchors_keep_their_precision_in_lower_ones():
    network = retinanet(2, stages=1, channels=8).eval()
    images = torch.rand(1, 3, 64, 512)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(images)
    assert torch.equal(half[:, -4:], network(images)[:, -4:])


def test_the_backbone_is_another_network_without_its_classifier():
    torch.manual_seed(0)
    network = retinanet(2, backbone="resnet14", channels=8)
    weights = {name.removeprefix("backbone."): each for name, each in network.named_parameters() if "backbone." in name}
    known = dict(build_model("resnet14", 2).named_parameters())
    assert weights.keys() == known.keys() - {"fc.weight", "fc.bias"}
    assert all(each.shape == known[name].shape for name, each in weights.items())


def test_it_is_traced_as_one_graph_and_copied():
    network = copy.deepcopy(retinanet(2, stages=1, channels=8)).eval()
    images = torch.rand(2, 3, 32, 32)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), network(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 12}, "retinanet channels 12: give a multiple of 8"),
        ({"stages": 4}, "retinanet stages 4: resnet8 has 3, layer1, layer2, layer3"),
        ({"backbone": "resnet9"}, "model 'resnet9' is unknown"),
    ],
)
def test_options_that_make_no_network_are_named(options, message):
    with pytest.raises(InputError, match=message):
        build_model("retinanet", 2, **options)
