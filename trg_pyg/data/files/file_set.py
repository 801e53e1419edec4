"""Image files that are decoded when they are needed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from trg_pyg._size import Size
from trg_pyg.data._views import chosen
from trg_pyg.data.files._decode import WHITE, Colour, Interpolation
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.image_classification import ImageClassification


@dataclass(frozen=True, eq=False)
class FileSet:
    """Image files and their classes: an :class:`~trg_pyg.data.base.ImageSet` of any size, decoded batch by batch.

    Attributes:
        root: folder of the dataset.
        files: N paths relative to ``root``, as :func:`encode_paths` makes them.
        targets: int64 [N], values in [0, C).
        image_size: side of the decoded images, or height and width, in pixels.
        shorter: what an image is resized to cover, before the centre is cut out: pixels of the shorter side, or height
            and width; at least ``image_size``.
        workers: processes that decode; 0 decodes in the calling process; None takes one a CPU core, at most 8, and
            none for a set of less than 512 images, where they start for longer than they work.
        prefetch: batches that each worker keeps ready, >= 1.
        interpolation: by which images are resized, antialiased.
        background: colour below what is transparent, 0..255 each of red, green and blue.
        digest: hash of names, classes and contents of the files, where it is known.
        places: of a part of a data set: the position of each file in the whole, int64 [N] on the CPU.
        task: what is learnt of them.
    """

    task: ClassVar[Task] = ImageClassification()

    root: Path
    files: np.ndarray
    targets: Tensor
    image_size: Size
    shorter: Size
    workers: int | None = None
    prefetch: int = 2
    interpolation: Interpolation = "bilinear"
    background: Colour = WHITE
    digest: str | None = None
    places: Tensor | None = None

    @property
    def example(self) -> Size:
        """What a network is described with."""
        return self.image_size

    @property
    def channels(self) -> int:
        """Channels of every image: files become RGB."""
        return 3

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> "FileSet":
        """Return the set with its targets on ``device``: batches go where the targets are."""
        return replace(self, targets=self.targets.to(device))

    def select(self, index: Tensor) -> "FileSet":
        """Return the files at ``index`` (int64 [M] positions or bool [N]) as a set of their own."""
        return replace(
            self,
            files=self.files[index.cpu().numpy()],
            targets=self.targets[index],
            digest=None,
            places=chosen(self.places, index),
        )


def encode_paths(files: Sequence[str]) -> np.ndarray:
    """Return paths as one array of bytes [N], the form in which a :class:`FileSet` keeps them.

    A worker that reads a list of strings copies it bit by bit, since each look changes a reference count: with the
    million names of ImageNet that takes 100 MB a worker. An array stays shared.
    """
    return np.array([os.fsencode(file) for file in files], dtype=np.bytes_)
