import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import generator

from trg_pyg.errors import InputError
from trg_pyg.tokens import check_patch, patchify, sample_positions, sample_present, take_tokens


def test_two_by_two_patches_of_a_single_channel():
    feature_map = torch.arange(16).view(1, 1, 4, 4)
    assert patchify(feature_map, 2).tolist() == [
        [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]],
    ]


def test_a_token_holds_one_channel_after_the_other():
    feature_map = torch.tensor([[[[1, 2]], [[10, 20]]]])  # two channels of a 1 x 2 map
    assert patchify(feature_map).tolist() == [[[1, 10], [2, 20]]]
    feature_map = torch.arange(8).view(1, 2, 2, 2)
    assert patchify(feature_map, 2).tolist() == [[[0, 1, 2, 3, 4, 5, 6, 7]]]


@settings(max_examples=20)
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 4),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    patch=st.integers(1, 3),
)
def test_equals_a_loop_over_patches(images, channels, rows, columns, patch):
    feature_map = torch.randn(images, channels, rows * patch, columns * patch)
    tokens = patchify(feature_map, patch)
    assert tokens.shape == (images, rows * columns, channels * patch**2)
    for b in range(images):
        for i in range(rows):
            for j in range(columns):
                window = feature_map[b, :, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
                assert torch.equal(tokens[b, i * columns + j], window.reshape(-1))


def test_gradient_reaches_every_cell_once():
    feature_map = torch.randn(2, 3, 4, 4, requires_grad=True)
    patchify(feature_map, 2).sum().backward()
    assert torch.equal(feature_map.grad, torch.ones(2, 3, 4, 4))


def test_patch_that_does_not_divide_names_those_that_do():
    with pytest.raises(InputError, match=r"patch=3 does not divide the 8x4 feature grid.*: 1, 2, 4$"):
        patchify(torch.zeros(1, 2, 8, 4), 3)


@pytest.mark.parametrize("patch", [0, -1])
def test_patch_has_at_least_one_cell(patch):
    with pytest.raises(InputError, match=f"patch={patch}"):
        check_patch((4, 4), patch)


def test_patch_must_divide_both_sides():
    check_patch((6, 4), 2)
    with pytest.raises(InputError, match=r"patch=4 .*6x4"):
        check_patch((6, 4), 4)


@settings(max_examples=30, deadline=None)
@given(images=st.integers(1, 5), tokens=st.integers(1, 20), data=st.data(), seed=st.integers(0, 2**31))
def test_positions_are_distinct_ascending_and_in_range(images, tokens, data, seed):
    sampled = data.draw(st.integers(1, tokens))
    positions = sample_positions(images, tokens, sampled, generator(seed))
    assert positions.shape == (images, sampled)
    assert positions.dtype == torch.int64
    assert positions.min() >= 0
    assert positions.max() < tokens
    assert (positions.diff(dim=1) > 0).all()


def test_same_seed_same_draw_and_the_next_draw_is_another():
    first, again = generator(3), generator(3)
    draw = sample_positions(4, 64, 16, first)
    assert torch.equal(draw, sample_positions(4, 64, 16, again))
    assert not torch.equal(draw, sample_positions(4, 64, 16, first))


def test_images_draw_independently():
    positions = sample_positions(8, 64, 16, generator())
    assert len({tuple(row) for row in positions.tolist()}) == 8


def test_every_position_is_drawn_equally_often():
    counts = sample_positions(4000, 8, 2, generator()).flatten().bincount(minlength=8)
    assert ((counts / 1000 - 1).abs() < 0.15).all()  # 5 standard deviations of a fair draw


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    sample_positions(4, 64, 16, generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_all_tokens_need_no_draw():
    g = generator()
    before = g.get_state()
    assert sample_positions(2, 3, 3, g).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert torch.equal(g.get_state(), before)


@pytest.mark.parametrize("sampled", [0, -1, 5])
def test_impossible_numbers_name_the_range(sampled):
    with pytest.raises(InputError, match=f"^{sampled} tokens .* 1 to 4"):
        sample_positions(2, 4, sampled, generator())


def test_take_tokens_gathers_whole_tokens():
    tokens = torch.tensor([[[0.0, 0], [1, 10], [2, 20]], [[3, 30], [4, 40], [5, 50]]])
    taken = take_tokens(tokens, torch.tensor([[0, 2], [1, 2]]))
    assert taken.tolist() == [[[0, 0], [2, 20]], [[4, 40], [5, 50]]]


def test_tokens_are_drawn_of_those_that_are_there_as_often_as_each_other():
    present = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]) == 1
    positions = sample_present(present, 4, torch.rand(3, 6, generator=generator()))
    assert positions.tolist() == [[0, 1, 2, 3], [1, 1, 2, 2], [0, 0, 0, 0]]
    noise = [torch.rand(1, 6, generator=generator(seed)) for seed in range(60)]
    drawn = {tuple(sample_present(present[:1], 2, each)[0].tolist()) for each in noise}
    assert drawn == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
