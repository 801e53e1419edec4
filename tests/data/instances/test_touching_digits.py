import pytest
import torch

from trg_pyg.data import TouchingDigits


@pytest.fixture(scope="module")
def splits():
    return TouchingDigits().load()


def test_scenes_have_three_to_nine_digits_numbered_from_1(splits):
    assert (len(splits.train), len(splits.test), splits.image_size) == (200, 100, 64)
    for labels in (*splits.train.targets, *splits.test.targets):
        numbers = labels.unique()
        assert numbers.tolist() == list(range(len(numbers)))
        assert 4 <= len(numbers) <= 10


def test_most_scenes_have_digits_that_touch(splits):
    labels = splits.train.targets
    down, right = labels[:, 1:] != labels[:, :-1], labels[:, :, 1:] != labels[:, :, :-1]
    down &= (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    right &= (labels[:, :, 1:] > 0) & (labels[:, :, :-1] > 0)
    touching = down.flatten(1).any(1) | right.flatten(1).any(1)
    assert touching.float().mean() > 0.95


def test_scenes_are_always_the_same(splits):
    again = TouchingDigits(subset_seed=3).load()
    assert torch.equal(again.train.images, splits.train.images)
    assert again.digest == splits.digest


def test_held_out_scenes_are_a_share_of_all():
    splits = TouchingDigits(validation=0.1, heldout=0.25).load()
    assert (len(splits.train), len(splits.test), len(splits.heldout)) == (135, 20, 45)
    assert splits.test.targets.shape == (20, 64, 64)
