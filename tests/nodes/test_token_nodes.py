import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from trg_pyg.errors import InputError
from trg_pyg.models.taps import FeatureInfo, NetworkInfo
from trg_pyg.nodes import Tokens


def test_the_last_taps_on_the_coarser_grid_without_prefix_tokens(networks, outputs, step):
    nodes, (student, teacher) = Tokens(*networks), outputs()
    pair = nodes(student, teacher, step)
    torch.testing.assert_close(pair.student, adaptive_avg_pool2d(student.features[-1], 2).flatten(2).mT)
    assert torch.equal(pair.teacher, teacher.features[-1][:, 2:])
    assert (nodes.num_tokens, nodes.grid, nodes.student_dim, nodes.teacher_dim) == (4, (2, 2), 6, 5)


def test_patches_make_fewer_and_wider_tokens(networks, outputs, step):
    nodes = Tokens(*networks, patch=2)
    pair = nodes(*outputs(), step)
    assert (pair.student.shape, pair.teacher.shape) == ((3, 1, 24), (3, 1, 20))
    assert (nodes.num_tokens, nodes.grid, nodes.student_dim, nodes.teacher_dim) == (1, (1, 1), 24, 20)


def test_the_grid_is_that_of_all_tokens_of_unequal_sides():
    info = NetworkInfo(5, (FeatureInfo("a", "map", 2, (6, 4)),))
    assert Tokens(info, info, patch=2, tokens_per_image=3).grid == (3, 2)


def test_a_sample_is_taken_at_the_same_places_with_the_generator_of_the_step(networks, outputs, step):
    student, teacher = outputs()
    nodes, every = Tokens(*networks, tokens_per_image=2), Tokens(*networks)(student, teacher, step)
    pair, other = nodes(student, teacher, step), nodes(student, teacher, step)
    places = [
        [row.tolist().index(token.tolist()) for token in some] for row, some in zip(every[0], pair[0], strict=True)
    ]
    for image, chosen in enumerate(places):
        assert torch.equal(pair.teacher[image], every.teacher[image, chosen])
    assert nodes.num_tokens == 2
    draws = [pair.teacher, other.teacher] + [nodes(student, teacher, step).teacher for _ in range(5)]
    assert any(not torch.equal(draws[0], draw) for draw in draws)  # the stream goes on


def test_options_that_do_not_fit_are_refused_when_built(networks):
    with pytest.raises(InputError, match="patch=3 does not divide the 2x2 feature grid"):
        Tokens(*networks, patch=3)
    with pytest.raises(InputError, match="tokens_per_image=0"):
        Tokens(*networks, tokens_per_image=0)
