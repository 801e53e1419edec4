"""Batches out of a set of images."""

from collections.abc import Callable, Iterator, Sequence

import torch

from trg_pyg.batch import Inputs
from trg_pyg.data.base import Augmentation, ImageSet, Source
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.loading._epochs import EpochLoader, Part
from trg_pyg.data.loading.file_loader import FileLoader


class BatchLoader(EpochLoader[ImageSet | InputSet]):
    """Iterates a set in memory in batches on the device where the set lies; no batch waits for the device.

    The options are those of :func:`make_loader`, and so is what is refused.
    """

    def _images(self, parts: Sequence[Part]) -> Iterator[Inputs]:
        for part in parts:
            yield self.image_set.read(part.on_device)


Loader = BatchLoader | FileLoader


def make_loader(
    image_set: Source,
    batch_size: int,
    *,
    augment: Augmentation | None = None,
    generator: torch.Generator | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    device: torch.device | str | None = None,
    rank: int = 0,
    world_size: int = 1,
    views: int = 0,
    pairs: bool = False,
    balanced: float = 0.0,
) -> Loader:
    """Return the loader for this kind of set; both kinds yield the same batches and draw in the same way.

    One iteration is an epoch. Every draw comes from ``generator``: saving and restoring its state between epochs
    continues the same run, and the loader's ``state_dict`` within one. Torch's global generator is neither read nor
    advanced.

    Args:
        image_set: images or other items in memory, or files.
        batch_size: images a batch, of all processes together, >= 1.
        augment: an :class:`~trg_pyg.data.loading.augment` is applied to each batch on its device; a
            :class:`~trg_pyg.data.files.random_resized_crop` takes the place of the centre crop of files;
            None leaves the images as they are.
        generator: CPU generator; None makes one of the loader's own with torch's default seed, the same each time.
        shuffle: a new random order each epoch; False keeps the order of the set.
        drop_last: leave out a last batch that is smaller than ``batch_size``.
        device: where the batches of a :class:`FileSet` go; None takes that of its targets. Those of an
            :class:`ImageSet` stay where the set is.
        rank: which part of each batch to take, in [0, world_size); every process needs a generator in the same state.
        world_size: processes that share each batch, >= 1; their parts differ by one image at most.
        views: fixed views of each image, of which each epoch takes one at random; 0 draws a new view each time. What
            they are depends on nothing but the place of the image in the whole data set.
        pairs: of fixed views: a batch has a second half, for each of its images one that is always the same for this
            view, to be mixed with it.
        balanced: 0 gives every image once an epoch. Above, up to 1, as many are drawn with replacement, a class of n
            having a share proportional to ``n ** (1 - balanced)``: 0.5 is square-root sampling, 1 class-balanced
            sampling (Kang et al., arXiv 1910.09217).

    Raises:
        InputError: ``batch_size`` is below 1, ``drop_last`` would leave no batch, ``rank`` is not one of
            ``world_size`` processes, a batch has fewer images than there are processes, or ``augment`` needs the
            files of images that are in memory.
    """
    kind: Callable[..., Loader] = BatchLoader
    if isinstance(image_set, FileSet):
        kind, image_set = FileLoader, image_set if device is None else image_set.to(device)
    return kind(
        image_set,
        batch_size,
        augment=augment,
        generator=generator,
        shuffle=shuffle,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
        views=views,
        pairs=pairs,
        balanced=balanced,
    )
