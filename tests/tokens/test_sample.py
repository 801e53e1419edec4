import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import generator

from trg_pyg.errors import InputError
from trg_pyg.tokens import sample_positions, take_tokens


@settings(max_examples=30)
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
