import math

import pytest
import torch
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes import StageMaps, at_stage


def averaged(values: Tensor, count: int) -> Tensor:
    """The first axis in ``count`` entries: entry i is the mean of floor(i n / count) to ceil((i + 1) n / count)."""
    n = values.shape[0]
    return torch.stack([values[i * n // count : math.ceil((i + 1) * n / count)].mean(dim=0) for i in range(count)])


def by_loop(maps: list[Tensor], grid: tuple[int, int], channels: int) -> Tensor:
    """Maps ``[C, H, W]`` of one image in each layer to one node a layer."""
    nodes = []
    for one in maps:
        rows = averaged(one.permute(1, 2, 0), grid[0])
        cells = averaged(rows.transpose(0, 1), grid[1]).transpose(0, 1)  # [H, W, C]
        kept = averaged(cells.permute(2, 0, 1), channels)
        nodes.append(torch.stack([kept[:, r, c] for r in range(grid[0]) for c in range(grid[1])]).flatten())
    return torch.stack(nodes)


def test_two_layers_written_out():
    """2 channels of 2x2 cells and 1 channel of 1x1: the first is averaged to a single number."""
    info = NetworkInfo(2, (FeatureInfo("a", "map", 2, (2, 2)), FeatureInfo("b", "map", 1, (1, 1))))
    first = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], [[[0.0] * 2] * 2, [[8.0] * 2] * 2]])
    out = Outputs(torch.zeros(2, 2), (first, torch.tensor([[[[7.0]]], [[[9.0]]]])))
    nodes = StageMaps(info, info)
    pair = nodes(out, out, None)
    # Both images in the first layer, then both in the second.
    assert pair.student.tolist() == pair.teacher.tolist() == [[[4.5], [4.0], [7.0], [9.0]]]
    assert (nodes.student_dim, nodes.teacher_dim) == (1, 1)


def test_neighbouring_channels_are_averaged_together():
    info = NetworkInfo(2, (FeatureInfo("a", "map", 4, (1, 1)), FeatureInfo("b", "map", 2, (1, 1))))
    first, second = torch.tensor([1.0, 3.0, 10.0, 20.0]), torch.tensor([5.0, 6.0])
    out = Outputs(torch.zeros(1, 2), (first.view(1, 4, 1, 1), second.view(1, 2, 1, 1)))
    assert StageMaps(info, info)(out, out, None).student.tolist() == [[[2.0, 15.0], [5.0, 6.0]]]


@pytest.mark.parametrize("stages", [(-2, -1), (0, 1), (1, 0)])
def test_equals_a_loop_on_both_networks(stages, networks, outputs, step):
    nodes, (student, teacher) = StageMaps(*networks, stages), outputs()
    pair = nodes(student, teacher, step)
    maps_s = list(student.features)
    maps_t = [teacher.features[0].permute(0, 3, 1, 2), teacher.features[1][:, 2:].mT.reshape(3, 5, 2, 2)]
    # Student: 4x6x4 and 6x4x4 to 4 channels of 4x4. Teacher: 3x4x4 and 5x2x2 to 3 channels of 2x2.
    for actual, maps, grid, channels in ((pair.student, maps_s, (4, 4), 4), (pair.teacher, maps_t, (2, 2), 3)):
        images = [by_loop([maps[stage][i] for stage in stages], grid, channels) for i in range(3)]
        torch.testing.assert_close(actual[0], torch.stack(images, dim=1).flatten(0, 1))
    assert (nodes.student_dim, nodes.teacher_dim) == (4 * 16, 3 * 4)


def test_more_than_two_layers_and_one_twice(networks, outputs, step):
    pair = StageMaps(*networks, (0, 1, 0))(*outputs(), step)
    assert pair.student.shape == (1, 9, 64)
    assert torch.equal(pair.student[0, :3], pair.student[0, 6:])


def test_labels_repeat_layer_after_layer(networks, step):
    assert StageMaps(*networks).labels(step.target, 6).tolist() == [[2, 0, 1, 2, 0, 1]]


@pytest.mark.parametrize("stages", [(), (-1,)])
def test_fewer_than_two_layers_are_refused(stages, networks):
    with pytest.raises(InputError, match=rf"stages=\[{', '.join(map(str, stages))}\]: .* at least two"):
        StageMaps(*networks, stages)


def test_layers_that_are_not_there_are_refused(networks):
    with pytest.raises(InputError, match=r"stage -3 of the student, which has 2 tapped features \(layer1, layer2\)"):
        StageMaps(*networks, (-3, -1))
    with pytest.raises(InputError, match="stage -2 of the teacher, which has 1 tapped"):
        StageMaps(networks[0], NetworkInfo(5, networks[1].features[1:]))


def test_at_stage_counts_from_both_ends(networks):
    first, last = networks[0].features
    assert [at_stage(networks[0], stage, "student") for stage in (-2, -1, 0, 1)] == [first, last, first, last]
    for stage in (-3, 2):
        with pytest.raises(InputError, match=f"stage {stage} of the student, .*name more modules in student.taps"):
            at_stage(networks[0], stage, "student")
    with pytest.raises(InputError, match=r"stage 0 of the teacher, which has 0 tapped features \(none\)"):
        at_stage(NetworkInfo(5, ()), 0, "teacher")
