"""Instances in image files by a trained network."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from trg_pyg._files import check_writable
from trg_pyg.data.instances.label_maps import read_image
from trg_pyg.errors import InputError, require
from trg_pyg.tasks.instance_segmentation import instances_of
from trg_pyg.use.load import TrainedNetwork
from trg_pyg.viz.contours import contours

# Numbers of a label map of 16 bits.
_MOST = 65535


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
    if output is not None:
        names: dict[str, Path] = {}
        for file in files:
            other = names.setdefault(file.stem, file)
            require(other is file, f"{other} and {file} would both be written to {file.stem}.png; name one folder only")
        check_writable(output, "output")
        output.mkdir(parents=True, exist_ok=True)
    trained.network.to(device)
    for file in files:
        try:
            pixels = read_image(file)
        except InputError as error:
            yield FoundInstances(file, error=str(error))
            continue
        logits = trained.network(torch.from_numpy(pixels.copy())[None].to(device)).logits
        require(
            bool(logits.isfinite().all()),
            f"{trained.weights.path}: the network's outputs are not finite for {file}; its training diverged, or the "
            "file is damaged",
        )
        labels = instances_of(logits)[0].numpy()
        if output is not None:
            _write(output / file.stem, pixels.transpose(1, 2, 0), labels)
        yield FoundInstances(file, int(labels.max()))


def _write(name: Path, image: np.ndarray, labels: np.ndarray) -> None:
    require(labels.max() <= _MOST, f"{name}: {labels.max()} instances, and a label map has {_MOST} numbers; cut it")
    for ending, picture in (("", labels.astype(np.uint16)), ("_contours", contours(image, labels))):
        file = name.with_name(f"{name.name}{ending}.png")
        try:
            Image.fromarray(picture).save(file)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror or error}") from error
