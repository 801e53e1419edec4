"""Folders of images with boxes, as COCO or Pascal VOC write them."""

import json
import math
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from trg_pyg._size import Size, shown_size, sides
from trg_pyg.data.detection.detection_data import DetectionData, DetectionSet, padded
from trg_pyg.data.files._decode import read_rgb
from trg_pyg.data.image_folder import IMAGE_SUFFIXES
from trg_pyg.data.splits.holdout import check_fraction, holdout_indices
from trg_pyg.errors import InputError, few, require

_BOXES = "boxes.json"
# Pixels that a box may reach beyond its image: corners are sums of rounded numbers.
_ROUNDING = 0.01


class Box(NamedTuple):
    """A box in pixels of its image.

    Attributes:
        corners: left, top, right and bottom.
        name: of its class.
        passed_over: whether it is a crowd, or difficult.
    """

    corners: tuple[float, float, float, float]
    name: str
    passed_over: bool


class AnnotatedImage(NamedTuple):
    """An image file and its boxes.

    Attributes:
        image: the file.
        boxes: that it has.
        said: width and height that the annotations say; None where they do not.
        source: what was read of.
    """

    image: Path
    boxes: list[Box]
    said: tuple[int, int] | None
    source: Path


class BoxFolder(DetectionData):
    """Images of your own and the boxes of the objects in them.

    Two layouts, told apart by a folder ``train`` under ``root``::

        root/train/images/*  root/train/boxes.json    root/test/images/*  root/test/boxes.json
        root/images/*        root/boxes.json                    # whole images are held out for testing

    ``boxes.json`` is that of COCO, with ``images`` (``id``, ``file_name`` below ``images/``, ``width``, ``height``),
    ``annotations`` (``image_id``, ``category_id``, ``bbox``: left, top, width and height in pixels) and ``categories``
    (``id``, ``name``). In its place there may be a folder ``annotations`` of Pascal VOC: for each image an XML file of
    its name, whose pixels count from 1. An image without boxes is fine.

    What COCO calls ``iscrowd`` and Pascal VOC ``difficult`` is passed over: it is not learnt, and what is found there
    is neither right nor wrong. Images become RGB, turned upright, and are stretched to ``size``.

    Args:
        root: the folder.
        size: side of the images that networks see, in pixels, or ``[height, width]``.
        flip: mirror training images left to right at random, and their boxes alike.
        holdout: share of the images held out for testing in the second layout, in (0, 1); ``subset_seed`` chooses.
        subset_seed: chooses the test images, where there are none, and the images that are held out.
        validation: share of the training images, in (0, 1), that is held out and takes the place of the test images;
            None evaluates on these.
        heldout: share of the training images, in (0, 1), by which the best epoch is chosen, and of which methods may
            learn.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        root: str,
        size: Size = 128,
        flip: bool = True,
        holdout: float = 0.2,
        subset_seed: int = 0,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        super().__init__(subset_seed, flip, validation, heldout)
        self.root = Path(root).expanduser()
        require(min(sides(size)) >= 1, f"size {shown_size(size)}: images have sides of 1 pixel or more")
        check_fraction(holdout)
        self.size, self.holdout = size, holdout

    def _read(self) -> tuple[DetectionSet, DetectionSet, tuple[str, ...]]:
        require(self.root.is_dir(), f"{self.root} is no folder; give the one that holds images/ and boxes, or train/")
        train, test = self.root / "train", self.root / "test"
        if train.is_dir():
            require(test.is_dir(), f"{self.root} has train but no test; add it, or give {train} to hold images out")
            found, classes = read_boxes(train)
            return self._set(found, classes), self._set(read_boxes(test)[0], classes), classes
        found, classes = read_boxes(self.root)
        all_of_one = torch.zeros(len(found), dtype=torch.int64)
        held = {*holdout_indices(all_of_one, (str(self.root),), self.holdout, self.subset_seed).tolist()}
        parts = [[each for at, each in enumerate(found) if (at in held) == tested] for tested in (False, True)]
        return self._set(parts[0], classes), self._set(parts[1], classes), classes

    def _set(self, found: list[AnnotatedImage], classes: tuple[str, ...]) -> DetectionSet:
        images, boxes = zip(*(self._item(each, classes) for each in found), strict=True)
        return DetectionSet(torch.from_numpy(np.stack(images)), padded(boxes))

    def _item(self, each: AnnotatedImage, classes: tuple[str, ...]) -> tuple[np.ndarray, torch.Tensor]:
        image = _opened(each.image)
        width, height = image.size
        require(
            each.said in ((width, height), None),
            f"{each.source} says that {each.image.name} is {each.said} pixels wide and high, and it is "
            f"{(width, height)} once it is upright: correct them",
        )
        rows = [_row(box, each, (width, height), classes) for box in each.boxes]
        tall, wide = sides(self.size)
        pixels = np.asarray(image.resize((wide, tall), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        return pixels, torch.tensor(rows).reshape(-1, 6)


def read_boxes(folder: Path) -> tuple[list[AnnotatedImage], tuple[str, ...]]:
    """Return the images of a folder with their boxes, by name, and the classes that there are.

    Args:
        folder: with ``images`` and ``boxes.json``, or ``images`` and ``annotations``, see :class:`BoxFolder`.

    Raises:
        InputError: a file lacks, is damaged, or has a category or an image that it does not know.
    """
    images = folder / "images"
    require(images.is_dir(), f"{images} is no folder; images lie in it, their boxes beside it")
    if (folder / _BOXES).is_file():
        found, classes = _of_coco(folder / _BOXES, images)
    else:
        place = folder / "annotations"
        require(
            place.is_dir(),
            f"{folder} has neither {_BOXES} (COCO) nor a folder annotations (Pascal VOC); add one of them",
        )
        found = _of_voc(place, images)
        classes = tuple(sorted({box.name for each in found for box in each.boxes}))
    left = sorted({*_names(images)} - {each.image for each in found})
    require(
        not left,
        f"{few([str(each.relative_to(images)) for each in left])} of {images} {'is' if len(left) == 1 else 'are'} not "
        "in the annotations; add what has no boxes too, or remove it",
    )
    require(bool(found) and bool(classes), f"{folder} has no image, or no class at all; add some")
    return found, classes


def _names(images: Path) -> list[Path]:
    return [each for each in images.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES and each.name[0] != "."]


def _of_coco(file: Path, images: Path) -> tuple[list[AnnotatedImage], tuple[str, ...]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        listed = {each["id"]: (str(each["file_name"]), _said(each)) for each in content["images"]}
        repeated = [len(names) - len(content["categories"]), len(listed) - len(content["images"])]
        boxes: dict[Any, list[Box]] = {image: [] for image in listed}
        for number, each in enumerate(content["annotations"]):
            where, image, category = (
                f"{file}: annotation {each.get('id', number)}",
                each["image_id"],
                each["category_id"],
            )
            require(image in boxes, f"{where} is of image {image!r}, which is not listed: add the image, or remove it")
            require(category in names, f"{where} has category {category!r}, which is not listed: add it, or remove it")
            left, top, width, height = (float(value) for value in each["bbox"])
            corners = (left, top, left + width, top + height)
            boxes[image].append(Box(corners, names[category], bool(each.get("iscrowd", 0))))
    except InputError:
        raise
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        lacks = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputError(f"{file} is no file of boxes as COCO has them ({lacks}); write it again") from error
    require(not any(repeated), f"{file} has images or categories of the same id; number them")
    twice = sorted({name for name in names.values() if [*names.values()].count(name) > 1})
    require(not twice, f"{file} has several categories of the name {few(twice)}; rename or join them")
    found = []
    for image, (name, said) in sorted(listed.items(), key=lambda each: each[1][0]):
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        require(inside, f"{file} names the image {name!r}, which lies outside of {images}: name those below it")
        found.append(AnnotatedImage(images / name, boxes[image], said, file))
    return found, tuple(name for _, name in sorted(names.items()))


def _said(image: dict[str, Any]) -> tuple[int, int] | None:
    return (int(image["width"]), int(image["height"])) if "width" in image and "height" in image else None


def _of_voc(folder: Path, images: Path) -> list[AnnotatedImage]:
    by_stem: dict[str, Path] = {}
    for image in _names(images):
        other = by_stem.setdefault(image.stem, image)
        require(other is image, f"{other} and {image} have one name, and one XML file; rename one of them")
    found = []
    for file in sorted(folder.glob("*.xml")):
        require(file.stem in by_stem, f"{file}: {images} has no image of that name; add it, or remove the file")
        try:
            root = xml.parse(file).getroot()
            size = root.find("size")
            said = None if size is None else (int(_text(size, "width")), int(_text(size, "height")))
            boxes = [_voc_box(each) for each in root.iter("object")]
        except (OSError, xml.ParseError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{file} is no annotation as Pascal VOC has them ({reason}); write it again") from error
        found.append(AnnotatedImage(by_stem[file.stem], boxes, said, file))
    return found


def _voc_box(item: xml.Element) -> Box:
    box = item.find("bndbox")
    if box is None:
        raise ValueError("an object without bndbox")
    left, top, right, bottom = (float(_text(box, name)) for name in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (item.findtext("difficult") or "0").strip() == "1"
    # The first pixel is 1, and the last one belongs to the box.
    return Box((left - 1, top - 1, right, bottom), _text(item, "name"), difficult)


def _text(item: xml.Element, name: str) -> str:
    text = (item.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"{item.tag} without {name}")
    return text


def _row(box: Box, of: AnnotatedImage, size: tuple[int, int], classes: tuple[str, ...]) -> list[float]:
    """Return the numbers of a box, as shares of the sides."""
    left, top, right, bottom = box.corners
    shown = f"{of.source}: the box ({left:g}, {top:g}) to ({right:g}, {bottom:g}) of {of.image.name}"
    require(all(map(math.isfinite, box.corners)), f"{shown} is not finite; correct it")
    require(right > left and bottom > top, f"{shown} is empty or inverted; correct or remove it")
    require(
        min(left, top) >= -_ROUNDING and right <= size[0] + _ROUNDING and bottom <= size[1] + _ROUNDING,
        f"{shown} lies outside of the image of {size[0]}x{size[1]} pixels, those of Pascal VOC counting from 1; "
        "correct or remove it",
    )
    require(
        box.name in classes,
        f"{shown} has the category {box.name!r}, which the training images do not have: add or remove it",
    )
    shares = (each / side for each, side in zip(box.corners, size * 2, strict=True))
    return [*shares, float(classes.index(box.name)), float(box.passed_over)]


def _opened(file: Path) -> Image.Image:
    require(file.is_file(), f"{file} is named by the annotations, and there is no such file; add it")
    try:
        return read_rgb(file)
    except Exception as error:  # as Pillow raises them of damaged files
        reason = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read: {reason or type(error).__name__}") from error
