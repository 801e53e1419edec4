"""Batches out of image files, decoded by worker processes."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trg_pyg._size import sides
from trg_pyg.data.files._decode import centre_cut, decode_into, read_rgb
from trg_pyg.data.files.bad_images import unreadable
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.loading._epochs import EpochLoader, Part
from trg_pyg.data.loading.lost_worker import worker_lost
from trg_pyg.errors import InputError

_MOST_WORKERS = 8
_FEW_IMAGES = 512


class FileLoader(EpochLoader[FileSet]):
    """Iterates a :class:`FileSet` in batches on the device of its targets, to a GPU by way of pinned memory.

    Batches do not depend on the number of workers, nor :meth:`state_dict` on how far these are ahead. Without a
    :class:`RandomResizedCrop` the batches are those that a :class:`~trg_pyg.data.loading.loader` gives for the
    decoded images, from the same draws. The options are those of :func:`~trg_pyg.data.loading.loader`.

    Raises:
        BadImages: in an iteration, files cannot be used, which the message names.
        WorkerLost: in an iteration, a process that decodes was killed, for lack of memory most often. Where the news
            comes between two batches PyTorch raises it as a RuntimeError, see
            :func:`~trg_pyg.data.loading.lost_worker.worker_lost`.
    """

    @cached_property
    def _keys(self) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """What the workers get, a key a batch."""
        return []

    @cached_property
    def _decoded(self) -> DataLoader[Tensor | InputError]:
        workers = _workers(self.image_set, len(self))
        return DataLoader(
            _Decoder(self.image_set, self.augment if isinstance(self.augment, RandomResizedCrop) else None),
            batch_size=None,  # a key of the sampler is a batch already
            sampler=self._keys,
            num_workers=workers,
            pin_memory=self._targets.is_cuda,
            prefetch_factor=self.image_set.prefetch if workers else None,
            persistent_workers=workers > 0,
            # It seeds the workers, which draw nothing; without one the DataLoader would draw from the global generator.
            generator=torch.Generator(),
        )

    def _images(self, parts: Sequence[Part]) -> Iterator[Tensor]:
        self._keys[:] = [(part.positions.numpy(), None if part.seeds is None else part.seeds.numpy()) for part in parts]
        for images in self._from_workers():
            # A worker returns an error, since one that it raises would arrive with the text of its traceback.
            if isinstance(images, InputError):
                raise images
            yield images.to(self._targets.device, non_blocking=True)

    def _from_workers(self) -> Iterator[Tensor | InputError]:
        try:
            yield from self._decoded
        except (RuntimeError, OSError, EOFError) as error:
            lost = worker_lost(error, while_reading=True) if self._decoded.num_workers else None
            if lost is None:
                raise
            raise lost from error


class _Decoder(Dataset[Tensor | InputError]):
    """What a worker has: everything of the set but its targets, which may lie on a GPU."""

    def __init__(self, file_set: FileSet, crop: RandomResizedCrop | None) -> None:
        self.root: Path = file_set.root
        self.files = file_set.files
        self.size = file_set.image_size
        self.shorter = file_set.shorter
        self.background = file_set.background
        self.interpolation = file_set.interpolation
        self.crop = crop

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray | None]) -> Tensor | InputError:
        positions, seeds = key
        files = [os.fsdecode(name) for name in self.files[positions]]
        images = torch.empty(len(files), 3, *sides(self.size), dtype=torch.uint8)
        try:
            failures = decode_into(images, self.root, files, partial(self._read, seeds))
        except InputError as error:
            return error
        if not failures:
            return images
        remedy = "replace them and resume; check=pixels finds all such files at the start"
        return unreadable(failures, f"{len(files)} images of a batch from {self.root}", remedy)

    def _read(self, seeds: np.ndarray | None, file: Path, position: int) -> np.ndarray:
        if self.crop is None or seeds is None:
            return centre_cut(read_rgb(file, self.background), self.size, self.shorter, self.interpolation)
        generator = torch.Generator().manual_seed(int(seeds[position]))
        return self.crop.read(file, self.size, generator, self.interpolation, self.background)


def _workers(file_set: FileSet, batches: int) -> int:
    workers = file_set.workers
    if workers is None:
        workers = 0 if len(file_set) < _FEW_IMAGES else min(_MOST_WORKERS, _cores())
    return min(workers, batches)


def _cores() -> int:
    # A container or a scheduler may lend fewer cores than the machine has; only Linux says which.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # torchrun says how many processes share this machine; each of them has a loader.
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
