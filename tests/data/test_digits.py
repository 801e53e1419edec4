import pytest
import torch

from trg_pyg.data import Digits


@pytest.fixture(scope="module")
def splits():
    return Digits().load()


def test_sizes_and_classes(splits):
    assert (len(splits.train), len(splits.test)) == (1438, 359)
    assert splits.classes == tuple("0123456789")
    assert splits.image_size == 32
    assert splits.train.images.dtype == torch.uint8


def test_the_three_channels_are_equal_and_use_the_whole_range(splits):
    images = splits.train.images
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    assert (images.min().item(), images.max().item()) == (0, 255)


def test_a_fifth_of_each_class_is_held_out(splits):
    held = torch.bincount(splits.test.targets)
    share = held / (held + torch.tensor(splits.class_counts))
    assert share.min() > 0.19
    assert share.max() < 0.21


def test_statistics_are_those_of_the_training_images(splits):
    pixels = splits.train.images.double() / 255
    assert splits.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert splits.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_the_seed_decides_the_split(splits):
    again, other = Digits().load(), Digits(subset_seed=1).load()
    assert torch.equal(again.test.images, splits.test.images)
    assert torch.equal(again.train.targets, splits.train.targets)
    assert not torch.equal(other.test.targets, splits.test.targets)


def test_validation_images_come_from_the_training_part(splits):
    held_out = Digits(validation=0.25).load()
    assert held_out.evaluated == "validation"

    def pixels(image_set):
        return {image.numpy().tobytes() for image in image_set.images}

    train, validation, test = pixels(held_out.train), pixels(held_out.test), pixels(splits.test)
    assert train | validation == pixels(splits.train)
    assert not train & validation
    assert not test & (train | validation)
    share = torch.bincount(held_out.test.targets) / torch.tensor(splits.class_counts)
    assert (share - 0.25).abs().max() < 0.01


def test_digits_are_not_mirrored():
    augment = Digits().augment()
    assert (augment.crop_padding, augment.flip) == (2, False)
    assert Digits(flip=True).augment().flip


def test_long_tail():
    counts = Digits(imbalance=10).load().class_counts
    assert counts[0] == 139  # the smallest class
    assert counts[-1] == 13
