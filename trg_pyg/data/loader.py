"""Batches out of a set of images."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from trg_pyg.data._transfer import to_device
from trg_pyg.data.augment import Augment
from trg_pyg.data.base import Augmentation, ImageSet, ImageSource
from trg_pyg.data.file_loader import FileLoader
from trg_pyg.data.file_set import FileSet
from trg_pyg.data.random_resized_crop import RandomResizedCrop
from trg_pyg.errors import InputError, require


class BatchLoader:
    """Iterates an :class:`ImageSet` in batches on the device where the set lies; one iteration is one epoch.

    Every draw (the order once an epoch, the augmentation once a batch) comes from ``generator``: saving and restoring
    its state between epochs continues the same run. Torch's global generator is neither read nor advanced.

    Args:
        image_set: the images, already on the training device.
        batch_size: images a batch, >= 1.
        augment: applied to each batch; None leaves the images as they are.
        generator: CPU generator; None makes one of the loader's own with torch's default seed, the same each time.
        shuffle: a new random order each epoch; False keeps the order of the set.
        drop_last: leave out a last batch that is smaller than ``batch_size``.

    Raises:
        InputError: ``batch_size`` is below 1, or ``drop_last`` would leave no batch.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        *,
        augment: Augment | None = None,
        generator: torch.Generator | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        _check_batch_size(batch_size, len(image_set), drop_last)
        self.image_set = image_set
        self.batch_size = batch_size
        self.augment = augment
        self.generator = torch.Generator() if generator is None else generator
        self.shuffle = shuffle
        self.drop_last = drop_last

    def __len__(self) -> int:
        batches = len(self.image_set) / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield images uint8 [B, 3, H, W], targets int64 [B] and positions in the set int64 [B], all on its device."""
        order = self._order()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size]
            images = self.image_set.images[index]
            if self.augment is not None:
                images = self.augment(images, self.generator)
            yield images, self.image_set.targets[index], index

    def _order(self) -> Tensor:
        count = len(self.image_set)
        device = self.image_set.images.device
        if not self.shuffle:
            return torch.arange(count, device=device)
        # Drawn on the CPU so that one seed gives one order on every device.
        return to_device(torch.randperm(count, generator=self.generator), device)


Loader = BatchLoader | FileLoader


def make_loader(
    image_set: ImageSource,
    batch_size: int,
    *,
    augment: Augmentation | None = None,
    generator: torch.Generator | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    device: torch.device | str | None = None,
) -> Loader:
    """Return the loader for this kind of set; both kinds yield the same batches and draw in the same way.

    Args:
        image_set: images in memory, or files.
        batch_size: images a batch, >= 1.
        augment: applied to the images of each batch; None leaves them as they are.
        generator: CPU generator; None makes one of the loader's own with torch's default seed, the same each time.
        shuffle: a new random order each epoch; False keeps the order of the set.
        drop_last: leave out a last batch that is smaller than ``batch_size``.
        device: where the batches of a :class:`FileSet` go; None takes that of its targets. Those of an
            :class:`ImageSet` stay where the set is.

    Raises:
        InputError: ``batch_size`` is below 1, ``drop_last`` would leave no batch, or ``augment`` needs the files of
            images that are in memory.
    """
    if isinstance(image_set, FileSet):
        _check_batch_size(batch_size, len(image_set), drop_last)
        return FileLoader(
            image_set if device is None else image_set.to(device),
            batch_size,
            augment=augment,
            generator=torch.Generator() if generator is None else generator,
            shuffle=shuffle,
            drop_last=drop_last,
        )
    if isinstance(augment, RandomResizedCrop):
        raise InputError(
            "a RandomResizedCrop cuts out of image files, and these images are in memory; stream them, or take Augment"
        )
    return BatchLoader(
        image_set, batch_size, augment=augment, generator=generator, shuffle=shuffle, drop_last=drop_last
    )


def _check_batch_size(batch_size: int, count: int, drop_last: bool) -> None:
    require(batch_size >= 1, f"batch_size {batch_size} is below 1; a batch holds at least one image")
    require(
        not drop_last or batch_size <= count,
        f"batch_size {batch_size} is larger than the {count} images of the set and drop_last leaves no batch; choose a "
        f"batch_size of at most {count} or keep the last batch",
    )
