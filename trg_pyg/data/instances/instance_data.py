"""Images with the instances in them, in memory."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.data.base import Data, ImageSet, Source, Splits, channel_statistics
from trg_pyg.data.loading.augment import Augment
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.instance_segmentation import InstanceSegmentation


@dataclass(frozen=True, eq=False)
class InstanceSet(ImageSet):
    """Images and their label maps, int64 ``[N, H, W]``: 0 of background, 1 to n of the instances of an image."""

    task: ClassVar[Task] = InstanceSegmentation()


class Turn(Augment):
    """Mirrors images up and down, left to right and, where they are squares, along the diagonal, labels alike.

    Args:
        square: whether height and width are the same.
    """

    def __init__(self, square: bool) -> None:
        super().__init__(crop_padding=0, flip=True)
        self.square = square

    @property
    def views(self) -> int:
        """How many different views of an image there are: 8, or 4."""
        return 8 if self.square else 4

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw what happens to each image of a batch: three coins, int64 [B, 3], for width, height and diagonal."""
        return self.view(torch.randint(self.views, (batch_size,), generator=generator))

    def number(self, draws: Tensor) -> Tensor:
        """Return the number of each drawn view, int64 [B], in [0, views)."""
        width, height, diagonal = draws.unbind(1)
        return width + 2 * height + 4 * diagonal

    def view(self, numbers: Tensor) -> Tensor:
        """Return what is drawn for views of these numbers, int64 [B, 3]: the inverse of :meth:`number`."""
        return torch.stack([numbers % 2, numbers // 2 % 2, numbers // 4], dim=1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return the images ``[B, ..., H, W]`` mirrored as it was drawn."""
        coins = to_device(draws, images.device).bool().view(len(images), 3, *[1] * (images.dim() - 1)).unbind(1)
        width, height, diagonal = coins
        images = torch.where(width, images.flip(-1), images)
        images = torch.where(height, images.flip(-2), images)
        return torch.where(diagonal, images.mT, images) if self.square else images

    def apply_to_labels(self, labels: Tensor, draws: Tensor) -> Tensor:
        """Return the label maps ``[B, H, W]`` of images that were mirrored as it was drawn."""
        return self.apply(labels, draws)


class InstanceData(Data):
    """Base class of the sets of images with instances: a subclass implements ``_read``.

    Classes of a pixel are background and instance. Training images are mirrored up and down, left to right and, where
    they are squares, along the diagonal at random, and their labels alike.

    Args:
        subset_seed: as of :class:`~trg_pyg.data.base.Data`.
        validation: as of :class:`~trg_pyg.data.base.Data`, a share of all training images.
        heldout: as of :class:`~trg_pyg.data.base.Data`, a share of all training images.
    """

    classes: ClassVar[tuple[str, ...]] = ("background", "instance")
    square: bool = True  # whether all images are

    def __init__(self, subset_seed: int = 0, validation: float | None = None, heldout: float | None = None) -> None:
        super().__init__(None, subset_seed, validation, heldout)

    @abstractmethod
    def _read(self) -> tuple[InstanceSet, InstanceSet, tuple[str, ...]]:
        """Return the training set, the test set and :attr:`classes`."""

    def _completed(self, splits: Splits, test: Source) -> Splits:
        train = splits.train
        assert isinstance(train, ImageSet)
        mean, std = channel_statistics(train.images)
        return replace(splits, mean=mean, std=std)

    def augment(self) -> Turn:
        """Return the mirroring of the training images."""
        return Turn(self.square)
