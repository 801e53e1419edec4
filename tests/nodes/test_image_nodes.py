"""Images as nodes: of which tensor, in which width."""

import loss_equations as equations
import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes import FlattenedMaps, Instances, Probabilities, Tokens


def test_instances_are_embeddings(networks, outputs, step):
    nodes, (student, teacher) = Instances(*networks), outputs()
    pair = nodes(student, teacher, step)
    assert torch.equal(pair.student, student.embedding[None])
    assert torch.equal(pair.teacher, teacher.embedding[None])
    assert (nodes.student_dim, nodes.teacher_dim) == (7, 8)


def test_instances_of_networks_without_an_embedding_are_the_mean_of_the_last_tap(networks, outputs, step):
    student, teacher = (NetworkInfo(one.num_classes, one.features) for one in networks)
    out_s, out_t = outputs()
    nodes = Instances(student, teacher)
    pair = nodes(out_s, out_t, step)
    torch.testing.assert_close(pair.student[0], out_s.features[-1].mean(dim=(2, 3)))
    # Two tokens of the sequence are no part of the image.
    torch.testing.assert_close(pair.teacher[0], out_t.features[-1][:, 2:].mean(dim=1).detach())
    assert (nodes.student_dim, nodes.teacher_dim) == (6, 5)


def test_each_network_has_an_embedding_or_none(networks, outputs, step):
    student = NetworkInfo(networks[0].num_classes, networks[0].features)
    pair = Instances(student, networks[1])(*outputs(), step)
    assert (pair.student.shape, pair.teacher.shape) == ((1, 3, 6), (1, 3, 8))


def test_probabilities_and_logits(networks, outputs, step):
    student, teacher = outputs()
    pair = Probabilities(*networks)(student, teacher, step)
    rows = torch.stack([equations.softmax_row(row) for row in student.logits])
    torch.testing.assert_close(pair.student, rows[None])
    torch.testing.assert_close(pair.teacher.sum(2), torch.ones(1, 3, dtype=torch.float64))
    logits = Probabilities(*networks, softmax=False)(student, teacher, step)
    assert torch.equal(logits.student, student.logits[None])
    assert torch.equal(logits.teacher, teacher.logits[None])


def test_probabilities_of_half_precision_logits_are_float32(networks, outputs, step):
    for softmax in (True, False):
        pair = Probabilities(*networks, softmax=softmax)(*outputs(dtype=torch.float16), step)
        assert pair.student.dtype == pair.teacher.dtype == torch.float32


def test_flattened_maps_written_out():
    info = NetworkInfo(2, (FeatureInfo("a", "map", 2, (1, 2)), FeatureInfo("b", "sequence", 2, (1, 2), 1)))
    feature = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # channels of 1x2 cells
    sequence = torch.tensor([[[9.0, 9.0], [1.0, 3.0], [2.0, 4.0]]])  # the same behind a class token
    out = Outputs(torch.zeros(1, 2), (feature, sequence))
    pair = FlattenedMaps(info, info, student_stage=0)(out, out, None)
    assert pair.student.tolist() == pair.teacher.tolist() == [[[1.0, 2.0, 3.0, 4.0]]]


@pytest.mark.parametrize(("stages", "dims"), [((-1, -1), (96, 20)), ((0, -2), (96, 48)), ((-2, 1), (96, 20))])
def test_flattened_maps_of_a_stage_of_each_network(stages, dims, networks, outputs, step):
    nodes, (student, teacher) = FlattenedMaps(*networks, *stages), outputs()
    pair = nodes(student, teacher, step)
    assert (nodes.student_dim, nodes.teacher_dim) == dims
    assert torch.equal(pair.student[0], student.features[stages[0]].flatten(1))
    assert pair.teacher.shape == (1, 3, dims[1])
    if stages[1] == -2:  # channels last
        assert torch.equal(pair.teacher[0], teacher.features[0].permute(0, 3, 1, 2).flatten(1))


@pytest.mark.parametrize("stage", [2, -3])
def test_a_stage_that_a_network_lacks_is_refused_when_built(stage, networks):
    found = r"2 tapped features \(layer1, layer2\): choose another stage, or name more modules in student.taps"
    with pytest.raises(InputError, match=f"stage {stage} of the student, which has {found}"):
        FlattenedMaps(*networks, student_stage=stage)
    with pytest.raises(InputError, match=rf"stage {stage} of the teacher, .*\(stem, blocks.11\): .* teacher.taps"):
        FlattenedMaps(*networks, teacher_stage=stage)


@pytest.mark.parametrize("nodes", [FlattenedMaps, Instances, Tokens])
def test_networks_without_a_tap_are_refused_when_built(nodes, networks):
    bare = NetworkInfo(5, ())
    with pytest.raises(InputError, match=r"stage -1 of the student, which has 0 tapped features \(none\)"):
        nodes(bare, networks[1])
    with pytest.raises(InputError, match="stage -1 of the teacher"):
        nodes(networks[0], bare)


def test_an_embedding_is_enough_for_instances(outputs, step):
    pair = Instances(NetworkInfo(5, (), 7), NetworkInfo(5, (), 8))(*outputs(), step)
    assert (pair.student.shape, pair.teacher.shape) == ((1, 3, 7), (1, 3, 8))
