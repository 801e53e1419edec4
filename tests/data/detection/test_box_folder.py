import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.data import BoxFolder, read_boxes
from trg_pyg.errors import InputError

# A red box of 20x10 pixels at (10, 20) of an image of 80x40.
CORNERS = (10, 20, 30, 30)
CATEGORIES = [{"id": 7, "name": "tree"}, {"id": 3, "name": "house"}]


def picture(file: Path, size=(80, 40)) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    left, top, right, bottom = CORNERS
    pixels[top:bottom, left:right] = (200, 0, 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def annotation(**changes) -> dict:
    left, top, right, bottom = CORNERS
    return {"id": 5, "image_id": 1, "category_id": 7, "bbox": [left, top, right - left, bottom - top]} | changes


def write_coco(folder: Path, annotations: list[dict], number_of: int = 3, **changes) -> None:
    listed = []
    for number in range(1, number_of + 1):
        picture(folder / "images" / f"{number}.png")
        listed.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 40})
    content = {"images": listed, "annotations": annotations, "categories": CATEGORIES} | changes
    (folder / "boxes.json").write_text(json.dumps(content))


def write_voc(folder: Path, objects: str, images: int = 2) -> None:
    (folder / "annotations").mkdir(parents=True)
    for number in range(images):
        picture(folder / "images" / f"{number}.png")
        size = "<size><width>80</width><height>40</height><depth>3</depth></size>"
        found = objects if number == 0 else ""
        (folder / "annotations" / f"{number}.xml").write_text(f"<annotation>{size}{found}</annotation>")


def voc_object(name="tree", corners=CORNERS, difficult=0) -> str:
    left, top, right, bottom = corners
    box = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"


def red(image: torch.Tensor) -> list[float]:
    """The box round what is red, as shares of the sides."""
    rows, columns = (image[0] > 150).nonzero().unbind(1)
    ends = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return [end.item() / side for end, side in zip(ends, image.shape[:0:-1] * 2, strict=True)]


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_boxes_are_shares_of_the_sides_and_images_are_stretched(tmp_path, kind):
    for split in ("train", "test"):
        if kind == "coco":
            write_coco(tmp_path / split, [annotation(), annotation(id=6, category_id=3, iscrowd=1)])
        else:
            write_voc(tmp_path / split, voc_object() + voc_object("house", difficult=1))
    splits = BoxFolder(str(tmp_path), size=(80, 160)).load()
    assert splits.classes == (("house", "tree"))
    assert splits.train.images.shape[1:] == (3, 80, 160)
    tree, house = sorted(splits.test.targets[0].tolist(), key=lambda row: -row[4])
    assert tree == pytest.approx([0.125, 0.5, 0.375, 0.75, 1, 0])
    assert house == pytest.approx([0.125, 0.5, 0.375, 0.75, 0, 1])
    assert red(splits.test.images[0]) == pytest.approx(tree[:4], abs=0.02)  # its edges are blurred
    assert (splits.train.targets[1:, :, 4] == -1).all()


def test_whole_images_are_held_out(tmp_path):
    write_coco(tmp_path, [annotation(image_id=image) for image in range(1, 11)], number_of=10)
    splits = BoxFolder(str(tmp_path), size=32).load()
    assert (len(splits.train), len(splits.test)) == (8, 2)
    seeds = {BoxFolder(str(tmp_path), 32, subset_seed=seed).load().test.images.sum().item() for seed in range(3)}
    assert len(seeds) == 1  # the images are alike
    assert len(BoxFolder(str(tmp_path), 32, heldout=0.25).load().heldout) == 2


def test_images_without_any_box_that_counts_are_refused_before_a_training(tmp_path):
    for split, annotations in (("train", [annotation()]), ("test", [annotation(iscrowd=1)])):
        write_coco(tmp_path / split, annotations)
    with pytest.raises(InputError, match="none of the 3 test images has a box that counts"):
        BoxFolder(str(tmp_path), size=32).load()


def test_one_class_is_enough(tmp_path):
    write_coco(tmp_path, [annotation(image_id=image) for image in (1, 2, 3)], categories=CATEGORIES[:1])
    assert BoxFolder(str(tmp_path), size=32).load().classes == ("tree",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [70, 20, 20, 10]}, r"box \(70, 20\) to \(90, 30\) of 1.png lies outside of the image of 80x40"),
        ({"bbox": [-1, 0, 5, 5]}, "lies outside"),
        ({"bbox": [10, 20, 0, 10]}, "is empty or inverted"),
        ({"bbox": [10, 20, 5, -3]}, "is empty or inverted"),
        ({"bbox": [10, 20, float("nan"), 3]}, "is not finite"),
        ({"bbox": [10, 20, 5]}, "is no file of boxes as COCO has them"),
        ({"category_id": 4}, "annotation 5 has category 4, which is not listed"),
        ({"image_id": 9}, "annotation 5 is of image 9, which is not listed"),
    ],
)
def test_a_box_that_is_none_is_named(tmp_path, changes, message):
    write_coco(tmp_path, [annotation(**changes)])
    with pytest.raises(InputError, match=message):
        BoxFolder(str(tmp_path), size=32).load()


def test_what_does_not_fit_together_is_named(tmp_path):
    write_coco(tmp_path, [annotation()])
    (tmp_path / "images" / "2.png").unlink()
    with pytest.raises(InputError, match=r"2.png is named by the annotations, and there is no such file"):
        BoxFolder(str(tmp_path)).load()
    picture(tmp_path / "images" / "2.png", (40, 80))
    with pytest.raises(InputError, match=r"says that 2.png is \(80, 40\) pixels wide and high, and it is \(40, 80\)"):
        BoxFolder(str(tmp_path)).load()
    picture(tmp_path / "images" / "more.png")
    with pytest.raises(InputError, match=r"more.png of .* is not in the annotations"):
        BoxFolder(str(tmp_path)).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [*CATEGORIES, {"id": 8, "name": "tree"}]}, "has several categories of the name tree"),
        ({"categories": [*CATEGORIES, {"id": 7, "name": "road"}]}, "images or categories of the same id"),
        ({"categories": None}, "is no file of boxes as COCO has them"),
        ({"images": [{"id": 1, "file_name": "../1.png"}]}, r"names the image '../1.png', which lies outside"),
    ],
)
def test_a_file_that_is_none_of_coco_is_named(tmp_path, changes, message):
    write_coco(tmp_path, [annotation()], **changes)
    with pytest.raises(InputError, match=message):
        read_boxes(tmp_path)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ("<object><name>tree</name></object>", "an object without bndbox"),
        ("<object>", "is no annotation as Pascal VOC has them"),
        (voc_object(corners=(-1, 20, 30, 30)), r"lies outside .* Pascal VOC counting from 1"),
        (voc_object(name=""), "object without name"),
    ],
)
def test_an_annotation_that_is_none_of_voc_is_named(tmp_path, objects, message):
    write_voc(tmp_path, objects)
    with pytest.raises(InputError, match=message):
        BoxFolder(str(tmp_path)).load()


def test_a_category_of_the_test_images_alone_is_named(tmp_path):
    write_voc(tmp_path / "train", voc_object())
    write_voc(tmp_path / "test", voc_object("car"))
    with pytest.raises(InputError, match="has the category 'car', which the training images do not have"):
        BoxFolder(str(tmp_path)).load()


def test_a_folder_that_lacks_a_part_is_named(tmp_path):
    with pytest.raises(InputError, match="images is no folder"):
        BoxFolder(str(tmp_path)).load()
    picture(tmp_path / "images" / "1.png")
    with pytest.raises(InputError, match=r"has neither boxes.json \(COCO\) nor a folder annotations"):
        BoxFolder(str(tmp_path)).load()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "2.xml").write_text("<annotation/>")
    with pytest.raises(InputError, match=r"2.xml: .* has no image of that name"):
        BoxFolder(str(tmp_path)).load()
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="has train but no test"):
        BoxFolder(str(tmp_path)).load()
