"""Images with boxes round the objects in them, in memory."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.data.base import Data, ImageSet, Source, Splits, channel_statistics
from trg_pyg.data.loading.augment import Augment
from trg_pyg.errors import require
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.detection import BOX_NUMBERS, Detection, check_scorer, counted_boxes


@dataclass(frozen=True, eq=False)
class DetectionSet(ImageSet):
    """Images and their boxes, float32 ``[N, M, 6]``: see :class:`~trg_pyg.tasks.detection.Detection`."""

    task: ClassVar[Task] = Detection()


def padded(boxes: Sequence[Tensor]) -> Tensor:
    """Return the boxes of N images, each ``[m, 6]``, as one tensor ``[N, M, 6]``, M at least 1; the others are none."""
    rows = torch.zeros(len(boxes), max(1, *map(len, boxes)), BOX_NUMBERS)
    rows[..., 4] = -1
    for row, each in zip(rows, boxes, strict=True):
        row[: len(each)] = each
    return rows


class MirroredBoxes(Augment):
    """Mirrors images left to right, each with probability 1/2, and their boxes alike."""

    def __init__(self) -> None:
        super().__init__(crop_padding=0, flip=True)

    def apply_to_labels(self, labels: Tensor, draws: Tensor) -> Tensor:
        """Return the boxes ``[B, M, 6]`` of images that were mirrored as it was drawn."""
        mirrored = to_device(draws[:, 2].contiguous(), labels.device).bool()[:, None, None] & (labels[..., 4:5] >= 0)
        left, top, right, bottom, label, passed_over = labels.unbind(2)
        return torch.where(mirrored, torch.stack([1 - right, top, 1 - left, bottom, label, passed_over], 2), labels)


class DetectionData(Data):
    """Base class of the sets of images with boxes: a subclass implements ``_read``.

    Args:
        subset_seed: as of :class:`~trg_pyg.data.base.Data`.
        flip: mirror training images left to right at random, and their boxes alike.
        validation: as of :class:`~trg_pyg.data.base.Data`, a share of all training images.
        heldout: as of :class:`~trg_pyg.data.base.Data`, a share of all training images.

    Raises:
        InputError: when it is loaded, the package that scores boxes is not installed, or no image has a box.
    """

    def __init__(
        self,
        subset_seed: int = 0,
        flip: bool = True,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        super().__init__(None, subset_seed, validation, heldout)
        self.flip = flip

    @abstractmethod
    def _read(self) -> tuple[DetectionSet, DetectionSet, tuple[str, ...]]:
        """Return the training set, the test set and the class names."""

    def _completed(self, splits: Splits, test: Source) -> Splits:
        check_scorer()  # before a training that ends in an evaluation
        train = splits.train
        assert isinstance(train, ImageSet)
        for split, part in (("training", train), (splits.evaluated, splits.test)):
            there = bool(counted_boxes(part.targets).any())
            require(there, f"none of the {len(part)} {split} images has a box that counts: add some that have one")
        mean, std = channel_statistics(train.images)
        return replace(splits, mean=mean, std=std)

    def augment(self) -> MirroredBoxes | None:
        """Return the mirroring of the training images; None for none."""
        return MirroredBoxes() if self.flip else None
