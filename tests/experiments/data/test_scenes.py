import random
from itertools import combinations

import pytest
import torch
from PIL import Image

from experiments.data.scenes import CLASSES, LARGEST, SIDE, SMALLEST, place, write
from trg_pyg.data import BoxFolder
from trg_pyg.errors import InputError


@pytest.fixture
def source(tmp_path):
    """Photographs of one colour, which tells their class; training images have no blue, test images nothing but it."""
    for split in ("train", "test"):
        for number, name in enumerate(("bear", *CLASSES)):
            level = 40 * (number + 1)
            file = tmp_path / "images" / split / name / "0.png"
            file.parent.mkdir(parents=True)
            Image.new("RGB", (32, 32), (level, 0, 0) if split == "train" else (0, 0, level)).save(file)
    return tmp_path / "images"


def test_boxes_go_round_photographs_of_their_class_and_of_their_split(source, tmp_path):
    line = write(source, tmp_path / "scenes", train=12, test=6)
    splits = BoxFolder(str(tmp_path / "scenes"), SIDE).load()
    assert splits.classes == CLASSES
    assert (len(splits.train), len(splits.test)) == (12, 6)
    objects = sum(int((part.targets[..., 4] >= 0).sum()) for part in (splits.train, splits.test))
    assert line == f"18 scenes with {objects} objects in {tmp_path / 'scenes'}"
    for part, channel in ((splits.train, 0), (splits.test, 2)):
        others = [other for other in range(3) if other != channel]
        assert part.images[:, others].max() == 0
        for image, rows in zip(part.images[:, channel], part.targets, strict=True):
            # What is pasted later lies in front.
            wanted = torch.full((SIDE, SIDE), 40, dtype=torch.uint8)
            for row in rows[rows[:, 4] >= 0]:
                left, top, right, bottom = (row[:4] * SIDE).round().int().tolist()
                assert right - left == bottom - top
                assert SMALLEST <= right - left <= LARGEST
                wanted[top:bottom, left:right] = 40 * (int(row[4]) + 2)
            assert torch.equal(image, wanted)


def test_objects_cover_little_of_one_another_and_one_without_a_place_is_left_out():
    draws, squares = random.Random(0), []
    for _ in range(60):
        side = draws.randint(SMALLEST, LARGEST)
        corner = place(side, squares, draws)
        squares += [] if corner is None else [(*corner, side)]
    assert len(squares) < 60
    shared = []
    for one, other in combinations(squares, 2):
        rows = [{*range(square[1], square[1] + square[2])} for square in (one, other)]
        columns = [{*range(square[0], square[0] + square[2])} for square in (one, other)]
        pixels = len(rows[0] & rows[1]) * len(columns[0] & columns[1])
        shared.append(pixels / min(one[2], other[2]) ** 2)
    assert 0 < max(shared) <= 0.2


def test_a_seed_gives_the_same_scenes_and_another_one_others(source, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(source, tmp_path / name, train=3, test=3, seed=seed)
    a, b, c = ([file.read_bytes() for file in sorted((tmp_path / name).rglob("*.*"))] for name in ("a", "b", "c"))
    assert a == b != c


def test_what_cannot_be_made_is_refused_and_leaves_nothing(source, tmp_path):
    with pytest.raises(InputError, match="test=0: give 1 or more"):
        write(source, tmp_path / "scenes", test=0)
    for name, missing in (("bear", "another class"), ("orange", "orange")):
        (source / "test" / name).rename(tmp_path / name)
        with pytest.raises(InputError, match=f"images/test has no images of {missing}, and scenes are"):
            write(source, tmp_path / "scenes")
        (tmp_path / name).rename(source / "test" / name)
    assert not (tmp_path / "scenes").exists()
    (tmp_path / "scenes").mkdir()
    with pytest.raises(InputError, match="scenes is there already"):
        write(source, tmp_path / "scenes", train=1, test=1)
