"""Clips of one class each, in memory."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from trg_pyg.batch import Inputs
from trg_pyg.data.base import ImageData, ImageSet, Source, Splits
from trg_pyg.data.splits.holdout import holdout_indices
from trg_pyg.errors import require
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.video_classification import VideoClassification


@dataclass(frozen=True, eq=False)
class VideoSet(ImageSet):
    """Clips in memory and their classes; ``images`` are uint8 ``[N, channels, T, H, W]``."""

    task: ClassVar[Task] = VideoClassification()
    axes: ClassVar[str] = "channels, T, H, W"

    @property
    def frames(self) -> int:
        """Frames of every clip, T."""
        return self.images.shape[2]

    @property
    def example(self) -> Inputs:
        """A clip to describe a network with, ``[1, channels, T, H, W]``."""
        return self.images[:1]


class VideoData(ImageData):
    """Base class of the sets of clips: a subclass implements ``_read``, which gives two :class:`VideoSet`.

    A clip is augmented as a whole: all of its frames are cropped and mirrored alike.

    Args:
        labelled: share of each class of the training clips, in (0, 1), that keeps its labels, at least one; the others
            become the unlabelled clips, for methods that learn without labels. None keeps all labels.
        imbalance: as of :class:`~trg_pyg.data.base.ImageData`.
        subset_seed: as of :class:`~trg_pyg.data.base.ImageData`; chooses the clips that keep their labels too.
        crop_padding: as of :class:`~trg_pyg.data.base.ImageData`.
        flip: as of :class:`~trg_pyg.data.base.ImageData`; None stands for no, since what moves to the left moves to
            the right in a mirror.
        validation: as of :class:`~trg_pyg.data.base.ImageData`.
        heldout: as of :class:`~trg_pyg.data.base.ImageData`.

    Raises:
        InputError: ``labelled`` is outside (0, 1), or as :class:`~trg_pyg.data.base.ImageData`.
    """

    default_crop_padding = 2
    default_flip = False

    def __init__(
        self,
        labelled: float | None = None,
        imbalance: float | None = None,
        subset_seed: int = 0,
        crop_padding: int | None = None,
        flip: bool | None = None,
        validation: float | None = None,
        heldout: float | None = None,
        unlabelled: str | None = None,
    ) -> None:
        super().__init__(imbalance, subset_seed, crop_padding, flip, validation, heldout, unlabelled)
        require(
            labelled is None or 0 < labelled < 1,
            f"labelled {labelled} is not between 0 and 1; it is the share of each class that keeps its labels",
        )
        require(
            labelled is None or unlabelled is None,
            f"labelled {labelled} and unlabelled {unlabelled}: clips without labels come from one of the two; give one",
        )
        self.labelled = labelled

    def _completed(self, splits: Splits, test: Source) -> Splits:
        splits = super()._completed(splits, test)
        if self.labelled is None:
            return splits
        train = splits.train
        assert isinstance(train, VideoSet)
        kept = torch.zeros(len(train), dtype=torch.bool)
        kept[holdout_indices(train.targets, splits.classes, self.labelled, self.subset_seed, item="clip")] = True
        others = train.select(~kept)
        # Nobody may learn of the labels that were taken away.
        unlabelled = replace(others, targets=torch.zeros_like(others.targets))
        return replace(splits, train=train.select(kept), unlabelled=unlabelled)
