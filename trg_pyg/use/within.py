"""Instances and boxes in image files, by a trained network."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trg_pyg._files import check_writable, written
from trg_pyg._size import Size, sides
from trg_pyg.data.instances.label_maps import read_image
from trg_pyg.errors import InputError, count, require
from trg_pyg.tasks.detection import boxes_of
from trg_pyg.tasks.instance_segmentation import instances_of
from trg_pyg.use.load import TrainedNetwork
from trg_pyg.viz.contours import contours

# Numbers of a label map of 16 bits.
_MOST = 65535
# Pixels of the shorter side of a picture of boxes, at the least: the names of classes would hide smaller ones.
_LEAST_SIDE = 384

Array = np.ndarray[Any, Any]


class FoundInstances(NamedTuple):
    """What was found in an image.

    Attributes:
        file: that was read.
        instances: how many there are.
        error: why it cannot be read; ``None`` if it can.
    """

    file: Path
    instances: int = 0
    error: str | None = None

    def as_json(self) -> str:
        """Return it as a line of JSON."""
        told = {"instances": self.instances} if self.error is None else {"error": self.error}
        return json.dumps({"file": str(self.file)} | told)

    def as_text(self) -> str:
        """Return it for a reader, without the file's name."""
        return count(self.instances, "instance")


class FoundBox(NamedTuple):
    """A box in an image.

    Attributes:
        corners: left, top, right and bottom in pixels of the file, turned upright.
        name: of the class.
        score: in (0, 1).
    """

    corners: tuple[float, float, float, float]
    name: str
    score: float


class FoundBoxes(NamedTuple):
    """What was found in an image.

    Attributes:
        file: that was read.
        boxes: of the highest score first.
        error: why it cannot be read; ``None`` if it can.
    """

    file: Path
    boxes: tuple[FoundBox, ...] = ()
    error: str | None = None

    def as_json(self) -> str:
        """Return it as a line of JSON."""
        boxes = [{"box": box.corners, "class": box.name, "score": box.score} for box in self.boxes]
        return json.dumps(
            {"file": str(self.file)} | ({"boxes": boxes} if self.error is None else {"error": self.error})
        )

    def as_text(self) -> str:
        """Return it for a reader, without the file's name: how many there are, then a line for each."""
        lines = (
            f"  {box.name} {100 * box.score:.2f} %  {' '.join(f'{corner:.1f}' for corner in box.corners)}"
            for box in self.boxes
        )
        return "\n".join([count(len(self.boxes), "box"), *lines])


@torch.inference_mode()
def predict_instances(
    trained: TrainedNetwork, files: Sequence[Path], output: Path | None = None, device: torch.device | str = "cpu"
) -> Iterator[FoundInstances]:
    """Find instances in files, one after another, each in its own size.

    Args:
        trained: a network that answers for each pixel; it is moved to the device.
        files: images.
        output: folder in which each image gets a label map of 16 bits, ``NAME.png``, and a picture of the contours,
            ``NAME_contours.png``; ``None`` counts them alone.
        device: where the network runs.

    Raises:
        InputError: the network takes other channels, its outputs are not finite, two files would have one label map, or
            that cannot be written.
    """
    trained.preparation  # noqa: B018 - refuses networks that take no RGB images
    _make(output, files, ".png")
    for file, pixels, logits in _looked_at(trained, files, None, device):
        if isinstance(pixels, str):
            yield FoundInstances(file, error=pixels)
            continue
        labels = instances_of(logits)[0].numpy()
        found = int(labels.max())
        if output is not None:
            require(found <= _MOST, f"{file}: {found} instances, and a label map has {_MOST} numbers; cut it")
            _save(labels.astype(np.uint16), output / f"{file.stem}.png")
            _save(contours(pixels.transpose(1, 2, 0), labels), output / f"{file.stem}_contours.png")
        yield FoundInstances(file, found)


@torch.inference_mode()
def predict_boxes(
    trained: TrainedNetwork,
    files: Sequence[Path],
    least: float = 0.3,
    output: Path | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[FoundBoxes]:
    """Find boxes in files, one after another, each stretched to the size of the training images.

    Args:
        trained: a network that answers for each anchor; it is moved to the device.
        files: images.
        least: boxes of a lower score are left out; those of 0.05 and below are never found.
        output: folder in which each image gets a picture of its boxes, ``NAME_boxes.png``; ``None`` draws none.
        device: where the network runs.

    Raises:
        InputError: ``least`` is not in [0, 1], the network takes other channels, its outputs are not finite, two files
            would have one picture, or that cannot be written.
    """
    require(0 <= least <= 1, f"least {least:g}: scores are from 0 to 1")
    size = trained.preparation[0]
    _make(output, files, "_boxes.png")
    for file, pixels, logits in _looked_at(trained, files, size, device):
        if isinstance(pixels, str):
            yield FoundBoxes(file, error=pixels)
            continue
        rows = [row for row in boxes_of(logits)[0].tolist() if row[4] >= 0 and row[5] >= least]
        found = tuple(_box(row, pixels, trained.facts.classes) for row in rows)
        if output is not None:
            _save(_drawn(pixels, found), output / f"{file.stem}_boxes.png")
        yield FoundBoxes(file, found)


def _make(output: Path | None, files: Sequence[Path], ending: str) -> None:
    """Make the folder of what each file gets, and refuse two that would get the same."""
    if output is None:
        return
    names: dict[str, Path] = {}
    for file in files:
        other = names.setdefault(file.stem, file)
        require(other is file, f"{other} and {file} would both be written to {file.stem}{ending}; rename one")
    check_writable(output, "output")
    output.mkdir(parents=True, exist_ok=True)


def _looked_at(
    trained: TrainedNetwork, files: Sequence[Path], size: Size | None, device: torch.device | str
) -> Iterator[tuple[Path, Array | str, Tensor]]:
    """Give each file, its pixels ``[3, H, W]`` or why it cannot be read, and the logits of the image in a size."""
    trained.network.to(device)
    for file in files:
        try:
            pixels = read_image(file)
        except InputError as error:
            yield file, str(error), torch.empty(0)
            continue
        shown = pixels.transpose(1, 2, 0)
        if size is not None:
            shown = np.asarray(Image.fromarray(shown).resize(sides(size)[::-1], Image.Resampling.BILINEAR))
        inputs = torch.from_numpy(shown.transpose(2, 0, 1).copy())[None]
        yield file, pixels, trained.checked(trained.network(inputs.to(device)).logits, str(file))


def _box(row: list[float], pixels: Array, classes: Sequence[str]) -> FoundBox:
    left, top, right, bottom, label, score = row
    height, width = pixels.shape[1:]
    return FoundBox((left * width, top * height, right * width, bottom * height), classes[int(label)], score)


def _drawn(pixels: Array, found: Sequence[FoundBox]) -> Array:
    from torchvision.utils import draw_bounding_boxes  # takes seconds to import

    times = max(-(-_LEAST_SIDE // min(pixels.shape[1:])), 1)
    picture = torch.from_numpy(pixels.copy()).repeat_interleave(times, 1).repeat_interleave(times, 2)
    if found:
        corners = torch.tensor([each.corners for each in found]) * times
        titles = [f"{each.name} {each.score:.2f}" for each in found]
        picture = draw_bounding_boxes(picture, corners, titles, width=2)
    return picture.permute(1, 2, 0).numpy()


def _save(picture: Array, file: Path) -> None:
    with written(file):
        Image.fromarray(picture).save(file)
