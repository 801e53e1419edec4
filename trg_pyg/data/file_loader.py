"""Batches out of image files, decoded by worker processes."""

import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trg_pyg.data._decode import centre_cut, decode_into, unreadable
from trg_pyg.data._transfer import to_device
from trg_pyg.data.augment import Augment
from trg_pyg.data.file_set import FileSet
from trg_pyg.data.random_resized_crop import RandomResizedCrop
from trg_pyg.errors import InputError

_MOST_WORKERS = 8
_FEW_IMAGES = 512


class FileLoader:
    """Iterates a :class:`FileSet` in batches on the device of its targets; one iteration at a time, each an epoch.

    The order, and one seed an image for its crop, are drawn from ``generator`` when an epoch begins: batches do not
    depend on the number of workers, and saving and restoring the generator's state between epochs continues the same
    run. Torch's global generator is neither read nor advanced. Without a :class:`RandomResizedCrop` the batches are
    those that a :class:`~trg_pyg.data.loader.BatchLoader` gives for the decoded images, from the same draws.

    Args:
        file_set: the images; their batches go to ``file_set.targets.device``, to a GPU by way of pinned memory.
        batch_size: images a batch, >= 1.
        augment: a :class:`RandomResizedCrop` takes the place of the centre crop; an :class:`Augment` is applied to each
            batch on its device; None leaves the images as they are.
        generator: CPU generator.
        shuffle: a new random order each epoch; False keeps the order of the set.
        drop_last: leave out a last batch that is smaller than ``batch_size``.

    Raises:
        InputError: in an iteration, a file cannot be read; the message names it.
    """

    def __init__(
        self,
        file_set: FileSet,
        batch_size: int,
        *,
        augment: Augment | RandomResizedCrop | None,
        generator: torch.Generator,
        shuffle: bool,
        drop_last: bool,
    ) -> None:
        self.file_set = file_set
        self.batch_size = batch_size
        self.augment = augment
        self.generator = generator
        self.shuffle = shuffle
        self.drop_last = drop_last
        self._device = file_set.targets.device
        self._keys: list[tuple[np.ndarray, np.ndarray | None]] = []
        workers = _workers(file_set, len(self))
        self._decoded = DataLoader(
            _Decoder(file_set, augment if isinstance(augment, RandomResizedCrop) else None),
            batch_size=None,  # a key of the sampler is a batch already
            sampler=self._keys,
            num_workers=workers,
            pin_memory=self._device.type == "cuda",
            prefetch_factor=file_set.prefetch if workers else None,
            persistent_workers=workers > 0,
            # It seeds the workers, which draw nothing; without one the DataLoader would draw from the global generator.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        batches = len(self.file_set) / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield images uint8 [B, 3, S, S], targets int64 [B] and positions in the set int64 [B], all on its device."""
        batches = self._draw()
        for positions, images in zip(batches, self._decoded, strict=True):
            # A worker returns an error, since one that it raises would arrive with the text of its traceback.
            if isinstance(images, InputError):
                raise images
            images = images.to(self._device, non_blocking=True)
            if isinstance(self.augment, Augment):
                images = self.augment(images, self.generator)
            index = to_device(positions, self._device)
            yield images, self.file_set.targets[index], index

    def _draw(self) -> Sequence[Tensor]:
        """Return the positions of each batch of an epoch, and tell the workers."""
        count = len(self.file_set)
        order = torch.randperm(count, generator=self.generator) if self.shuffle else torch.arange(count)
        seeds = None
        if isinstance(self.augment, RandomResizedCrop):
            seeds = torch.randint(2**62, (count,), generator=self.generator)
        batches = order.split(self.batch_size)[: len(self)]
        self._keys[:] = [(batch.numpy(), None if seeds is None else seeds[batch].numpy()) for batch in batches]
        return batches


class _Decoder(Dataset[Tensor | InputError]):
    """What a worker has: everything of the set but its targets, which may lie on a GPU."""

    def __init__(self, file_set: FileSet, crop: RandomResizedCrop | None) -> None:
        self.root: Path = file_set.root
        self.files = file_set.files
        self.size = file_set.image_size
        self.shorter = file_set.shorter
        self.crop = crop

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray | None]) -> Tensor | InputError:
        positions, seeds = key
        files = [os.fsdecode(name) for name in self.files[positions]]
        images = torch.empty(len(files), 3, self.size, self.size, dtype=torch.uint8)
        failures = decode_into(images, self.root, files, partial(self._cut, seeds))
        return unreadable(failures, f"{len(files)} images of a batch from {self.root}") if failures else images

    def _cut(self, seeds: np.ndarray | None, rgb: Image.Image, position: int) -> np.ndarray:
        if self.crop is None or seeds is None:
            return centre_cut(rgb, self.size, self.shorter)
        return self.crop(rgb, self.size, torch.Generator().manual_seed(int(seeds[position])))


def _workers(file_set: FileSet, batches: int) -> int:
    workers = file_set.workers
    if workers is None:
        workers = 0 if len(file_set) < _FEW_IMAGES else min(_MOST_WORKERS, _cores())
    return min(workers, batches)


def _cores() -> int:
    # A container or a scheduler may lend fewer cores than the machine has; only Linux says which.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
