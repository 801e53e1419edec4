import random
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from experiments.data.moving_images import moving, write
from trg_pyg.data import VideoFolder
from trg_pyg.data.video.moving_digits import DIRECTIONS
from trg_pyg.errors import InputError


@pytest.fixture
def source(tmp_path):
    """Training images are red, test images blue."""
    for split, channel in (("train", 0), ("test", 2)):
        for number in range(4):
            colour = [0, 0, 0]
            colour[channel] = 60 + 50 * number
            file = tmp_path / "images" / split / f"class{number % 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), tuple(colour)).save(file)
    return tmp_path / "images"


def test_training_clips_are_of_training_images_and_test_clips_of_test_images(source, tmp_path):
    assert write(source, tmp_path / "clips", train=16, test=8).startswith("24 clips")
    splits = VideoFolder(str(tmp_path / "clips"), 32, 8).load()
    assert splits.classes == tuple(sorted(DIRECTIONS))
    assert splits.class_counts == (2,) * 8
    assert splits.test.targets.bincount().tolist() == [1] * 8
    for part, channel in ((splits.train, 0), (splits.test, 2)):
        others = [other for other in range(3) if other != channel]
        assert part.images[:, others].max() == 0
        assert all(len(clip.unique()) == 2 for clip in part.images[:, channel])


@pytest.mark.parametrize("name", DIRECTIONS)
def test_an_image_goes_its_way_and_comes_in_again_at_the_other_side(name):
    over = np.random.default_rng(0).integers(1, 255, (16, 16, 3), dtype=np.uint8)
    frames = list(moving(over, np.zeros((32, 32, 3), np.uint8), DIRECTIONS[name], random.Random(1)))
    assert len(frames) == 8
    for before, after in pairwise(frames):
        steps = [k for k in (1, 2, 3) if (np.roll(before, np.multiply(DIRECTIONS[name], k), (0, 1)) == after).all()]
        assert len(steps) == 1


def test_a_seed_gives_the_same_clips_and_another_one_others(source, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(source, tmp_path / name, train=8, test=8, seed=seed)
    a, b, c = ([file.read_bytes() for file in sorted((tmp_path / name).rglob("*.png"))] for name in ("a", "b", "c"))
    assert a == b != c


def test_what_cannot_be_made_is_refused_and_leaves_nothing(source, tmp_path):
    for folder, options, message in (
        (source, {"train": 12}, "train=12: give a multiple of 8"),
        (source, {"test": 0}, "test=0: give a multiple of 8"),
        (tmp_path / "nothing", {}, "nothing/train has 0 images in folders of classes and a clip takes two"),
    ):
        with pytest.raises(InputError, match=message):
            write(folder, tmp_path / "clips", **{"train": 8, "test": 8} | options)
    assert not (tmp_path / "clips").exists()
    (tmp_path / "clips").mkdir()
    with pytest.raises(InputError, match="clips is there already"):
        write(source, tmp_path / "clips", train=8, test=8)
