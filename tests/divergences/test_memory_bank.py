import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw, generator

from trg_pyg.divergences import MemoryBank
from trg_pyg.errors import InputError


def test_first_vectors_are_uniform_and_of_length_one_on_average():
    vectors = MemoryBank(4000, 12, 0.5, generator()).vectors
    scale = (3 / 12) ** 0.5
    assert vectors.shape == (4000, 12)
    assert vectors.abs().max() < scale
    assert vectors.square().sum(1).mean().item() == pytest.approx(1, abs=0.02)
    counts = torch.histc(vectors, 10, -scale, scale)
    assert (counts / vectors.numel() - 0.1).abs().max() < 0.01


def test_the_generator_decides_and_the_global_one_is_left_alone():
    state = torch.get_rng_state()
    one, same, other = (MemoryBank(5, 3, 0.5, generator(seed)).vectors for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(MemoryBank(5, 3, 0.5).vectors, MemoryBank(5, 3, 0.5).vectors)
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=30)
@given(
    items=st.integers(1, 9),
    dim=st.integers(1, 5),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_update_is_its_equation(items, dim, momentum, seed, data):
    bank = MemoryBank(items, dim, momentum, generator(seed)).double()
    before = bank.vectors.clone()
    index = data.draw(st.lists(st.integers(0, items - 1), min_size=1, max_size=6))
    new = draw(seed, len(index), dim)
    bank.update(torch.tensor(index), new)
    for i in range(items):
        # Of an image that occurs twice, the first counts.
        x = before[i] if i not in index else momentum * before[i] + (1 - momentum) * new[index.index(i)]
        torch.testing.assert_close(bank.vectors[i], x if i not in index else equations.unit(x))


def test_an_image_that_occurs_twice_is_updated_once():
    bank = MemoryBank(3, 2, 0.0, generator())
    bank.update(torch.tensor([1, 1, 2]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]))
    assert bank.vectors[1:].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_no_gradient_reaches_the_bank_or_what_updates_it():
    bank = MemoryBank(4, 3, 0.5, generator())
    new = draw(0, 2, 3).float().requires_grad_()
    bank.update(torch.tensor([0, 1]), new)
    assert not bank.vectors.requires_grad
    assert not list(bank.parameters())
    rows = bank.rows(torch.tensor([2]))
    assert not rows.requires_grad
    rows.zero_()
    assert bank.vectors[2].any()  # a copy


def test_update_in_half_precision_and_under_autocast():
    exact, bank = MemoryBank(4, 3, 0.5, generator()), MemoryBank(4, 3, 0.5, generator())
    new = draw(0, 2, 3).half()
    exact.update(torch.tensor([0, 3]), new.float())
    with torch.autocast("cpu", torch.bfloat16):
        bank.update(torch.tensor([0, 3]), new)
    assert torch.equal(bank.vectors, exact.vectors)


def test_the_vectors_are_in_the_state_dict():
    bank, other = MemoryBank(4, 3, 0.5, generator(0)), MemoryBank(4, 3, 0.5, generator(1))
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.vectors, bank.vectors)


def test_messages():
    bank = MemoryBank(4, 3, 0.5)
    with pytest.raises(InputError, match="position 4 in a memory bank of 4 images"):
        bank.rows(torch.tensor([0, 4]))
    with pytest.raises(InputError, match="position -1 in a memory bank of 4 images"):
        bank.update(torch.tensor([-1]), torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"2 positions, vectors \(1, 3\)"):
        bank.update(torch.tensor([0, 1]), torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"positions \(1, 1\)"):
        bank.rows(torch.tensor([[0]]))
    with pytest.raises(InputError, match="0 vectors of width 3"):
        MemoryBank(0, 3, 0.5)
    with pytest.raises(InputError, match="momentum=1"):
        MemoryBank(4, 3, 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_never_enters_and_the_others_do(bad):
    bank, expected = MemoryBank(4, 3, 0.5), MemoryBank(4, 3, 0.5)
    new = draw(0, 3, 3).float()
    expected.update(torch.tensor([2]), new[1:2])
    new[0, 1], new[2, 0] = bad, bad
    bank.update(torch.tensor([0, 2, 3]), new)
    assert torch.equal(bank.vectors, expected.vectors)


def test_updates_are_undone_to_the_bit():
    bank = MemoryBank(6, 3, 0.9)
    bank.update(torch.tensor([0, 1]), draw(0, 2, 3))
    before = bank.vectors.clone()
    bank.keep()
    bank.update(torch.tensor([1, 4, 1]), draw(1, 3, 3))
    bank.update(torch.tensor([4, 5]), draw(2, 2, 3))
    assert not torch.equal(bank.vectors[[1, 4, 5]], before[[1, 4, 5]])
    bank.restore()
    assert torch.equal(bank.vectors, before)


def test_keep_forgets_what_was_kept_before_and_restoring_twice_changes_nothing():
    bank = MemoryBank(6, 3, 0.9)
    bank.keep()
    bank.update(torch.tensor([0]), draw(1, 1, 3))
    bank.keep()
    after = bank.vectors.clone()
    bank.update(torch.tensor([0]), draw(2, 1, 3))
    bank.restore()
    assert torch.equal(bank.vectors, after)
    bank.update(torch.tensor([0]), draw(3, 1, 3))
    bank.restore()
    assert torch.equal(bank.vectors, after)


def test_nothing_is_kept_where_nobody_asked_for_it():
    bank = MemoryBank(6, 3, 0.9)
    bank.update(torch.tensor([0]), draw(1, 1, 3))
    after = bank.vectors.clone()
    bank.restore()
    assert torch.equal(bank.vectors, after)
