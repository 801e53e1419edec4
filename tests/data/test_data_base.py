import subprocess
import sys

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser

from trg_pyg.data import Augment, ImageData, ImageSet, channel_statistics
from trg_pyg.errors import InputError


class Literal(ImageData):
    """A dataset of what it is given."""

    def __init__(self, train=None, test=None, classes=("cat", "dog"), **kwargs):
        super().__init__(**kwargs)
        self.parts = train or blank([0, 0, 1, 1]), test or blank([0, 1]), classes

    def _read(self):
        return self.parts


def blank(targets, height=4, width=4) -> ImageSet:
    return ImageSet(torch.zeros(len(targets), 3, height, width, dtype=torch.uint8), torch.tensor(targets))


def test_an_image_set_selects_by_position_and_by_mask():
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    image_set = ImageSet(images, torch.tensor([5, 6, 7]))
    assert len(image_set) == 3
    chosen = image_set.select(torch.tensor([2, 0]))
    assert chosen.targets.tolist() == [7, 5]
    assert chosen.images[:, 0, 0, 0].tolist() == [2, 0]
    assert image_set.select(torch.tensor([False, True, False])).targets.tolist() == [6]
    assert image_set.to("cpu").images is images
    assert image_set.to("meta").targets.device.type == "meta"


def test_load_describes_the_dataset():
    splits = Literal().load()
    assert (len(splits.train), len(splits.test)) == (4, 2)
    assert splits.classes == ("cat", "dog")
    assert splits.image_size == 4
    assert splits.class_counts == (2, 2)


def test_statistics_come_from_the_training_images_by_default():
    images = torch.zeros(2, 3, 1, 1, dtype=torch.uint8)
    images[0, 0], images[:, 1] = 255, 51
    splits = Literal(train=ImageSet(images, torch.tensor([0, 1])), test=blank([0, 1], 1, 1)).load()
    assert splits.mean == pytest.approx((0.5, 0.2, 0.0))
    assert splits.std == pytest.approx((0.5, 1.0, 1.0))  # 1 for the two constant channels


def test_statistics_equal_those_in_floating_point(generator):
    images = torch.randint(0, 256, (5000, 3, 3, 3), generator=generator).byte()
    pixels = images.double() / 255
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_statistics_of_the_class_win():
    class Published(Literal):
        mean = (0.1, 0.2, 0.3)
        std = (0.4, 0.5, 0.6)

    splits = Published().load()
    assert (splits.mean, splits.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_long_tail_shortens_the_training_split_only():
    balanced = {"train": blank([0] * 10 + [1] * 10), "test": blank([0, 0, 1, 1])}
    splits = Literal(**balanced, imbalance=5).load()
    assert splits.class_counts == (10, 2)
    assert splits.test.targets.tolist() == [0, 0, 1, 1]


def test_a_dataset_is_long_tailed_where_it_was_made_so():
    assert not Literal().long_tailed
    assert Literal(imbalance=2).long_tailed


def test_subset_seed_chooses_the_images_of_the_long_tail():
    images = torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1).repeat(1, 3, 4, 4)
    train = ImageSet(images, torch.arange(60) % 2)

    def chosen(seed):
        return Literal(train=train, imbalance=10, subset_seed=seed).load().train.images[:, 0, 0, 0].tolist()

    assert chosen(0) == chosen(0) != chosen(1)


def numbered(targets) -> ImageSet:
    """Image i has the value i."""
    images = torch.arange(len(targets), dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 4, 4)
    return ImageSet(images, torch.tensor(targets))


def numbers(image_set) -> list[int]:
    return image_set.images[:, 0, 0, 0].tolist()


class TestValidation:
    train = numbered([0, 1] * 20)

    def load(self, **options):
        # The value of the test images is that of no training image.
        test = ImageSet(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8), torch.tensor([0, 1]))
        return Literal(train=self.train, test=test, **options).load()

    def test_without_the_option_the_test_split_is_evaluated(self):
        splits = self.load()
        assert splits.evaluated == "test"
        assert numbers(splits.test) == [255, 255]
        assert numbers(splits.train) == list(range(40))

    def test_the_same_share_of_each_class_takes_the_place_of_the_test_split(self):
        splits = self.load(validation=0.3)
        assert splits.evaluated == "validation"
        assert torch.bincount(splits.test.targets).tolist() == [6, 6]
        assert splits.class_counts == (14, 14)
        # Together they are the training images, each once; no test image is left.
        assert sorted(numbers(splits.train) + numbers(splits.test)) == list(range(40))
        assert [number % 2 for number in numbers(splits.test)] == splits.test.targets.tolist()

    def test_the_long_tail_is_made_of_the_rest(self):
        balanced, long_tailed = (self.load(validation=0.2, imbalance=imbalance) for imbalance in (None, 4))
        assert numbers(long_tailed.test) == numbers(balanced.test)
        assert torch.bincount(long_tailed.test.targets).tolist() == [4, 4]
        assert long_tailed.class_counts == (16, 4)  # the largest class has all that is left of its 20 images
        assert set(numbers(long_tailed.train)) < set(numbers(balanced.train))

    def test_statistics_are_those_of_what_is_trained_on(self):
        splits = self.load(validation=0.5, imbalance=5)
        assert (splits.mean, splits.std) == channel_statistics(splits.train.images)
        assert splits.mean != channel_statistics(self.train.images)[0]

    def test_subset_seed_chooses_the_images(self):
        first, again, other = (numbers(self.load(validation=0.2, subset_seed=seed).test) for seed in (0, 0, 1))
        assert first == again != other

    def test_a_split_that_is_not_balanced_keeps_its_proportions(self):
        splits = Literal(train=numbered([0] * 20 + [1] * 5), validation=0.2).load()
        assert torch.bincount(splits.test.targets).tolist() == [4, 1]

    @pytest.mark.parametrize("validation", [0, 1, -0.1, 1.5, float("nan")])
    def test_an_impossible_share_is_refused_before_reading(self, validation):
        with pytest.raises(InputError, match=r"validation .* is not between 0 and 1"):
            Literal(validation=validation)

    def test_a_class_with_too_few_images_is_refused(self):
        with pytest.raises(InputError, match=r"dog has fewer than two training images; .* option validation"):
            Literal(train=numbered([0, 0, 1]), validation=0.5).load()

    def test_a_long_tail_that_the_rest_cannot_give_is_refused(self):
        assert Literal(train=numbered([0] * 10 + [1] * 10), imbalance=10).load().class_counts == (10, 1)
        with pytest.raises(InputError, match="the largest has 8; choose an imbalance of at most 8"):
            Literal(train=numbered([0] * 10 + [1] * 10), imbalance=10, validation=0.2).load()


class TestHeldout:
    train = numbered([0] * 100 + [1] * 20 + [2] * 4)
    test = ImageSet(torch.full((3, 3, 4, 4), 255, dtype=torch.uint8), torch.arange(3))

    def load(self, **options):
        return Literal(train=self.train, test=self.test, classes=("a", "b", "c"), **options).load()

    def test_a_share_of_each_class_is_neither_trained_on_nor_tested_on(self):
        splits = self.load(heldout=0.1)
        # Two of a class at the least, and of the classes as long-tailed as they are.
        assert torch.bincount(splits.heldout.targets).tolist() == [10, 2, 2]
        assert sorted(numbers(splits.train) + numbers(splits.heldout)) == list(range(124))
        assert (splits.evaluated, numbers(splits.test)) == ("test", [255] * 3)
        assert self.load().heldout is None

    def test_one_image_of_a_class_is_left_to_train_on(self):
        splits = Literal(train=numbered([0, 0, 1, 1, 1]), heldout=0.9).load()
        assert torch.bincount(splits.heldout.targets).tolist() == [1, 2]
        assert splits.class_counts == (1, 1)

    def test_it_is_taken_of_what_validation_and_long_tail_leave(self):
        both = {"validation": 0.25, "imbalance": 1.5}
        splits, others = self.load(heldout=0.2, **both), self.load(**both)
        assert numbers(splits.test) == numbers(others.test)
        assert sorted(numbers(splits.train) + numbers(splits.heldout)) == numbers(others.train)

    def test_statistics_are_those_of_what_is_trained_on(self):
        splits = self.load(heldout=0.5)
        assert (splits.mean, splits.std) == channel_statistics(splits.train.images)

    def test_held_out_later_it_is_the_same(self):
        now, later = self.load(heldout=0.2, subset_seed=3), self.load(subset_seed=3).holding_out(0.2, 3)
        assert numbers(now.heldout) == numbers(later.heldout)
        assert numbers(now.train) == numbers(later.train)

    def test_what_is_impossible_is_refused(self):
        with pytest.raises(InputError, match="heldout 1 is not between 0 and 1; it is the share of each class"):
            Literal(heldout=1)
        with pytest.raises(
            InputError, match=r"dog has fewer than two training images; .* leave the option heldout out"
        ):
            Literal(train=numbered([0, 0, 1]), heldout=0.5).load()


def test_augment_is_configured_by_the_constructor():
    augment = Literal(crop_padding=2, flip=False).augment()
    assert isinstance(augment, Augment)
    assert (augment.crop_padding, augment.flip) == (2, False)


@pytest.mark.parametrize("imbalance", [0.5, 0, -1, float("nan"), float("inf")])
def test_an_impossible_imbalance_is_refused_before_reading(imbalance):
    with pytest.raises(InputError, match=r"imbalance .* is not a finite number >= 1"):
        Literal(imbalance=imbalance)


def test_negative_padding_is_refused_before_reading():
    with pytest.raises(InputError, match="crop_padding -1"):
        Literal(crop_padding=-1)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": blank([0, 0])}, "no image in the training split for class dog"),
        ({"test": blank([1])}, "no image in the test split for class cat"),
        (
            {"train": blank([0, 1], 4, 6), "test": blank([0, 1], 6, 4)},
            "training images are 4x6 but the test images 6x4",
        ),
        ({"test": blank([0, 1], 5, 5)}, "training images are 4x4 but the test images 5x5"),
        ({"train": blank([0, 2])}, r"training targets hold \[2\] but there are 2 classes"),
        ({"train": ImageSet(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))}, "torch.float32"),
        ({"train": ImageSet(torch.zeros(2, 3, 4, 4).byte(), torch.tensor([0]))}, r"targets are torch.int64 \[1\]"),
    ],
)
def test_a_broken_dataset_is_refused(parts, message):
    with pytest.raises(InputError, match=message):
        Literal(**parts).load()


def test_many_empty_classes_are_counted():
    with pytest.raises(InputError, match="for class c1, c2, c3, c4, c5 and 3 more;"):
        Literal(train=blank([0]), classes=[f"c{i}" for i in range(9)]).load()


def parse(*arguments: str) -> ImageData:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=ImageData)
    return parser.instantiate(parser.parse_args(arguments)).data


def test_a_dataset_is_chosen_on_the_command_line_by_name():
    data = parse("--data", "CIFAR100", "--data.root", "somewhere", "--data.imbalance", "100", "--data.flip", "false")
    assert type(data).__name__ == "CIFAR100"
    assert (data.root, data.download, data.imbalance, data.augment().flip) == ("somewhere", True, 100, False)
    streamed = ["--data.stream=true", "--data.crop=resized", "--data.crop_share=0.875", "--data.workers=4"]
    assert parse("--data", "ImageFolder", "--data.root", "x", *streamed).workers == 4
    folder = parse("--data", "ImageFolder", "--data.root", "x", "--data.mean", "[0.1,0.2,0.3]", "--data.std", "[1,1,1]")
    assert folder.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100", "Digits", "FashionMNIST", "ImageFolder", "ImageList"])
def test_every_dataset_takes_the_common_options_and_refuses_a_typo(name):
    names = {"ImageFolder": ["root"], "ImageList": ["root", "train_list", "test_list"]}.get(name, [])
    root = [f"--data.{option}=x" for option in names]
    common = ["--data.imbalance=2", "--data.subset_seed=3", "--data.crop_padding=1", "--data.flip=true"]
    common += ["--data.validation=0.1", "--data.heldout=0.2"]
    padded = ["--data.crop=padded"] if name == "ImageList" else []
    data = parse("--data", name, *root, *common, *padded)
    assert (data.imbalance, data.subset_seed, data.validation, data.heldout) == (2, 3, 0.1, 0.2)
    assert (data.augment().crop_padding, data.augment().flip) == (1, True)
    with pytest.raises(ArgumentError, match="imbalence"):
        parse("--data", name, *root, "--data.imbalence", "2")
    with pytest.raises(TypeError, match="imbalence"):
        type(data)(**dict.fromkeys(names, "x"), imbalence=2)


def test_processes_that_decode_images_load_neither_networks_nor_graphs():
    """Each of them imports the data package anew."""
    heavy = ("torchvision", "torch_geometric", "trg_pyg.models", "trg_pyg.losses")
    code = f"import sys, trg_pyg.data; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
