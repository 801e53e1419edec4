"""Boxes in image files by a trained detector."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trg_pyg._files import check_writable
from trg_pyg._size import sides
from trg_pyg.data.files._decode import read_rgb
from trg_pyg.errors import InputError, require
from trg_pyg.tasks.detection import boxes_of
from trg_pyg.use.load import TrainedNetwork

# Pixels of the shorter side of a picture, at the least: the names of classes would hide smaller ones.
_LEAST_SIDE = 384


class FoundBox(NamedTuple):
    """What was found in an image.

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
    if output is not None:
        names: dict[str, Path] = {}
        for file in files:
            other = names.setdefault(file.stem, file)
            require(other is file, f"{other} and {file} would both be written to {file.stem}_boxes.png; rename one")
        check_writable(output, "output")
        output.mkdir(parents=True, exist_ok=True)
    trained.network.to(device)
    height, width = sides(size)
    for file in files:
        try:
            image = read_rgb(file)
        except Exception as error:  # as Pillow raises them of damaged files
            reason = " ".join(str(error).split())
            yield FoundBoxes(file, error=f"{file} cannot be read: {reason or type(error).__name__}")
            continue
        pixels = _tensor(image.resize((width, height), Image.Resampling.BILINEAR))
        logits = trained.network(pixels[None].to(device)).logits
        require(
            bool(logits.isfinite().all()),
            f"{trained.weights.path}: the network's outputs are not finite for {file}; its training diverged, or the "
            "file is damaged",
        )
        rows = [row for row in boxes_of(logits)[0].tolist() if row[4] >= 0 and row[5] >= least]
        found = tuple(_found(row, image.size, trained.facts.classes) for row in rows)
        if output is not None:
            _draw(output / f"{file.stem}_boxes.png", image, found)
        yield FoundBoxes(file, found)


def _found(row: list[float], size: tuple[int, int], classes: Sequence[str]) -> FoundBox:
    left, top, right, bottom, label, score = row
    return FoundBox((left * size[0], top * size[1], right * size[0], bottom * size[1]), classes[int(label)], score)


def _draw(file: Path, image: Image.Image, found: Sequence[FoundBox]) -> None:
    from torchvision.utils import draw_bounding_boxes  # takes seconds to import

    times = max(-(-_LEAST_SIDE // min(image.size)), 1)
    pixels = _tensor(image).repeat_interleave(times, 1).repeat_interleave(times, 2)
    if found:
        corners = torch.tensor([each.corners for each in found]) * times
        titles = [f"{each.name} {each.score:.2f}" for each in found]
        pixels = draw_bounding_boxes(pixels, corners, titles, width=2)
    try:
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror or error}") from error


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
