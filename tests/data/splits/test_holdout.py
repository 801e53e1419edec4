import pytest
import torch

from trg_pyg.data import holdout_indices
from trg_pyg.errors import InputError


def test_the_same_share_of_each_class_is_held_out():
    targets = torch.tensor([0] * 10 + [1] * 5 + [2] * 2)
    held = holdout_indices(targets, ("a", "b", "c"), 0.4, seed=0)
    assert held.tolist() == sorted(set(held.tolist()))
    assert torch.bincount(targets[held]).tolist() == [4, 2, 1]


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.999, 4)])
def test_one_image_stays_on_each_side(fraction, count):
    assert len(holdout_indices(torch.zeros(5, dtype=torch.int64), ("a",), fraction, seed=0)) == count


def test_seed_chooses_the_images():
    targets = torch.arange(100) % 2
    first, again, other = (holdout_indices(targets, ("a", "b"), 0.2, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_an_impossible_share_is_refused(fraction):
    with pytest.raises(InputError, match=r"holdout .* is not between 0 and 1"):
        holdout_indices(torch.tensor([0, 0]), ("a",), fraction, seed=0)


@pytest.mark.parametrize("fraction", [0, 1])
def test_an_impossible_share_for_validation_names_that_option(fraction):
    with pytest.raises(InputError, match=r"validation \d is not between 0 and 1; .* for validation"):
        holdout_indices(torch.tensor([0, 0]), ("a",), fraction, seed=0, split="validation")


def test_a_class_of_one_image_is_named():
    with pytest.raises(InputError, match="dog has fewer than two images"):
        holdout_indices(torch.tensor([0, 0, 1]), ("cat", "dog"), 0.5, seed=0)
    with pytest.raises(InputError, match=r"dog has fewer than two training images; .* leave the option validation out"):
        holdout_indices(torch.tensor([0, 0, 1]), ("cat", "dog"), 0.5, seed=0, split="validation")
