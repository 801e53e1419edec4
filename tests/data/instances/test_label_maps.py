from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.data import LabelMaps, read_labels
from trg_pyg.errors import InputError


def write(folder: Path, name: str, height: int = 8, width: int = 8, labels=None, kind: str = "png") -> None:
    """An image, and a label map of two halves unless another one is given."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(name)).integers(256, size=(height, width, 3))
    Image.fromarray(noise.astype(np.uint8)).save(folder / "images" / f"{name}.png")
    if labels is None:
        labels = np.zeros((height, width), np.uint8)
        labels[:, : width // 2], labels[:, width // 2 :] = 4, 9
    Image.fromarray(labels).save(folder / "labels" / f"{name}.{kind}")


def test_whole_images_are_held_out(tmp_path):
    for name in "abcdefghij":
        write(tmp_path, name * int(ord(name) - 96), 16, 16)
    splits = LabelMaps(str(tmp_path), size=8, holdout=0.2).load()
    assert (len(splits.train), len(splits.test)) == (32, 8)
    trained = {image.numpy().tobytes() for image in splits.train.images}
    assert trained.isdisjoint(image.numpy().tobytes() for image in splits.test.images)
    other = LabelMaps(str(tmp_path), size=8, subset_seed=1).load()
    assert not torch.equal(other.test.images, splits.test.images)


def test_splits_of_ones_own(tmp_path):
    write(tmp_path / "train", "one")
    write(tmp_path / "test", "two", kind="tif")
    data = LabelMaps(str(tmp_path), size=(8, 4))
    splits = data.load()
    assert (len(splits.train), len(splits.test), splits.image_size) == (2, 2, (8, 4))
    assert data.augment().views == 4
    assert splits.train.targets.unique().tolist() == [1]


def test_tiles_cover_an_image_and_number_their_instances_from_1(tmp_path):
    labels = np.zeros((10, 8), np.uint16)
    labels[:4, :4], labels[9, 7] = 700, 1000
    write(tmp_path / "train", "one", 10, 8, labels, "tif")
    write(tmp_path / "test", "two")
    found = LabelMaps(str(tmp_path), size=8).load().train
    assert found.targets.shape == (2, 8, 8)
    assert found.targets[0, :4, :4].eq(1).all()
    assert found.targets[0].sum() == 16
    assert found.targets[1, :2, :4].eq(1).all()
    assert found.targets[1, 7, 7] == 2


@pytest.mark.parametrize("label", [0, 3])
def test_a_map_of_a_single_label_is_one_instance_or_none(tmp_path, label):
    write(tmp_path / "train", "one", labels=np.full((8, 8), label, np.uint8))
    write(tmp_path / "test", "two")
    assert LabelMaps(str(tmp_path), size=8).load().train.targets.unique().tolist() == [int(label > 0)]


def test_maps_with_a_palette_are_read_by_their_numbers(tmp_path):
    picture = Image.fromarray(np.array([[0, 5], [2, 2]], np.uint8), "P")
    picture.putpalette([9] * 3 * 6)
    picture.save(tmp_path / "map.png")
    assert read_labels(tmp_path / "map.png").tolist() == [[0, 5], [2, 2]]


def refusal(folder: Path, **options) -> str:
    with pytest.raises(InputError) as refused:
        LabelMaps(str(folder), **{"size": 8, **options}).load()
    return str(refused.value)


def test_what_is_no_label_map_is_named(tmp_path):
    write(tmp_path / "train", "fine")
    test = tmp_path / "test"
    write(test, "one", labels=np.zeros((8, 9), np.uint8))
    assert "one.png is 8x9, its image one.png 8x8: a label map has a number for each pixel" in refusal(tmp_path)
    write(test, "one", labels=np.zeros((8, 8, 3), np.uint8))
    assert "one.png has RGB pixels, and a label map has one whole number each" in refusal(tmp_path)
    write(test, "one", labels=np.zeros((8, 8), np.float32), kind="tif")
    (test / "labels" / "one.png").unlink()
    assert "one.tif has F pixels" in refusal(tmp_path)
    write(test, "one", labels=np.full((8, 8), -2, np.int32), kind="tif")
    assert "one.tif has the label -2; 0 is background" in refusal(tmp_path)
    pages = [Image.fromarray(np.zeros((8, 8), np.uint8))] * 2
    pages[0].save(test / "labels" / "one.tif", save_all=True, append_images=pages[1:])
    assert "one.tif has 2 pages; save each as a file of its own" in refusal(tmp_path)
    (test / "labels" / "one.tif").write_bytes(b"no picture")
    assert "one.tif cannot be read" in refusal(tmp_path)


def test_images_of_more_than_8_bits_are_refused(tmp_path):
    write(tmp_path / "train", "one")
    write(tmp_path / "test", "two")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "test" / "images" / "two.png")
    assert "two.png cannot be read: I;16 pixels would be clipped to 8 bits, convert the file" in refusal(tmp_path)


def test_what_lacks_is_named(tmp_path):
    assert "is no folder; give the one that holds" in refusal(tmp_path / "nowhere")
    write(tmp_path, "one")
    assert "fewer than two" in refusal(tmp_path)
    write(tmp_path, "two")
    (tmp_path / "labels" / "one.png").unlink()
    assert "one.png has no label map of the same name" in refusal(tmp_path)
    write(tmp_path, "one")
    (tmp_path / "images" / "two.png").unlink()
    assert "two.png has no image of the same name" in refusal(tmp_path)
    write(tmp_path, "two")
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "one.bmp")
    assert "one.png has the name of" in refusal(tmp_path)
    (tmp_path / "train").mkdir()
    assert "has train but no test" in refusal(tmp_path)


def test_images_smaller_than_a_tile_are_refused(tmp_path):
    write(tmp_path, "one")
    write(tmp_path, "two")
    assert "is 8x8, smaller than tiles of 8x9: set data.size" in refusal(tmp_path, size=(8, 9))
