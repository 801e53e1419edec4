"""Batches out of a set of images."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trg_pyg.data._epochs import EpochLoader, Part
from trg_pyg.data.augment import Augment
from trg_pyg.data.base import Augmentation, ImageSet, ImageSource
from trg_pyg.data.file_loader import FileLoader
from trg_pyg.data.file_set import FileSet
from trg_pyg.data.random_resized_crop import RandomResizedCrop
from trg_pyg.errors import InputError


class BatchLoader(EpochLoader):
    """Iterates an :class:`ImageSet` in batches on the device where the set lies; one iteration is one epoch.

    Every draw (the order once an epoch, the augmentation once a batch) comes from ``generator``: saving and restoring
    its state between epochs continues the same run, and :meth:`state_dict` within one. Torch's global generator is
    neither read nor advanced. No batch waits for the device.

    Args:
        image_set: the images, already on the training device.
        batch_size: images a batch, of all processes together, >= 1.
        augment: applied to each batch; None leaves the images as they are.
        generator: CPU generator; None makes one of the loader's own with torch's default seed, the same each time.
        shuffle: a new random order each epoch; False keeps the order of the set.
        drop_last: leave out a last batch that is smaller than ``batch_size``.
        rank: which part of each batch to take, in [0, world_size); every process needs a generator in the same state.
        world_size: processes that share each batch, >= 1; their parts differ by one image at most.

    Raises:
        InputError: ``batch_size`` is below 1, ``drop_last`` would leave no batch, ``rank`` is not one of
            ``world_size`` processes, or a batch has fewer images than there are processes.
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
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(
            image_set.targets,
            batch_size,
            augment=augment,
            generator=torch.Generator() if generator is None else generator,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world_size=world_size,
        )
        self.image_set = image_set

    def _images(self, parts: Sequence[Part]) -> Iterator[Tensor]:
        for part in parts:
            # On a CPU index_select copies whole images, where images[index] goes pixel by pixel.
            yield self.image_set.images.index_select(0, part.on_device)


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
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
    """Return the loader for this kind of set; both kinds yield the same batches and draw in the same way.

    Args:
        image_set: images in memory, or files.
        batch_size: images a batch, of all processes together, >= 1.
        augment: applied to the images of each batch; None leaves them as they are.
        generator: CPU generator; None makes one of the loader's own with torch's default seed, the same each time.
        shuffle: a new random order each epoch; False keeps the order of the set.
        drop_last: leave out a last batch that is smaller than ``batch_size``.
        device: where the batches of a :class:`FileSet` go; None takes that of its targets. Those of an
            :class:`ImageSet` stay where the set is.
        rank: which part of each batch to take, in [0, world_size); every process needs a generator in the same state.
        world_size: processes that share each batch, >= 1; their parts differ by one image at most.

    Raises:
        InputError: ``batch_size`` is below 1, ``drop_last`` would leave no batch, ``rank`` is not one of
            ``world_size`` processes, a batch has fewer images than there are processes, or ``augment`` needs the
            files of images that are in memory.
    """
    if isinstance(image_set, FileSet):
        return FileLoader(
            image_set if device is None else image_set.to(device),
            batch_size,
            augment=augment,
            generator=torch.Generator() if generator is None else generator,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world_size=world_size,
        )
    if isinstance(augment, RandomResizedCrop):
        raise InputError(
            "a RandomResizedCrop cuts out of image files, and these images are in memory; stream them, or take Augment"
        )
    return BatchLoader(
        image_set,
        batch_size,
        augment=augment,
        generator=generator,
        shuffle=shuffle,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
    )
