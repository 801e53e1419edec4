"""Batches out of image files, decoded by worker processes."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trg_pyg.data._decode import centre_cut, decode_into
from trg_pyg.data._epochs import EpochLoader, Part
from trg_pyg.data.augment import Augment
from trg_pyg.data.bad_images import unreadable
from trg_pyg.data.file_set import FileSet
from trg_pyg.data.lost_worker import worker_lost
from trg_pyg.data.random_resized_crop import RandomResizedCrop
from trg_pyg.errors import InputError

_MOST_WORKERS = 8
_FEW_IMAGES = 512


class FileLoader(EpochLoader):
    """Iterates a :class:`FileSet` in batches on the device of its targets; one iteration at a time, each an epoch.

    The order, and one seed an image for its crop, are drawn from ``generator`` when an epoch begins: batches do not
    depend on the number of workers, saving and restoring the generator's state between epochs continues the same run,
    and :meth:`state_dict` within one, however far the workers are ahead. Torch's global generator is neither read nor
    advanced. Without a :class:`RandomResizedCrop` the batches are those that a
    :class:`~trg_pyg.data.loader.BatchLoader` gives for the decoded images, from the same draws.

    Args:
        file_set: the images; their batches go to ``file_set.targets.device``, to a GPU by way of pinned memory.
        batch_size: images a batch, of all processes together, >= 1.
        augment: a :class:`RandomResizedCrop` takes the place of the centre crop; an :class:`Augment` is applied to each
            batch on its device; None leaves the images as they are.
        generator: CPU generator.
        shuffle: a new random order each epoch; False keeps the order of the set.
        drop_last: leave out a last batch that is smaller than ``batch_size``.
        rank: which part of each batch to decode, in [0, world_size); every process needs a generator in the same
            state.
        world_size: processes that share each batch, >= 1; their parts differ by one image at most.

    Raises:
        InputError: ``batch_size`` is below 1, ``drop_last`` would leave no batch, ``rank`` is not one of
            ``world_size`` processes, or a batch has fewer images than there are processes.
        BadImages: in an iteration, files cannot be used, which the message names.
        WorkerLost: in an iteration, a process that decodes was killed, for lack of memory most often. Where the news
            comes between two batches PyTorch raises it as a RuntimeError, see
            :func:`~trg_pyg.data.lost_worker.worker_lost`.
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
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(
            file_set.targets,
            batch_size,
            augment=augment,
            generator=generator,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world_size=world_size,
        )
        self.file_set = file_set
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

    @property
    def _seeded(self) -> bool:
        return isinstance(self.augment, RandomResizedCrop)

    def _images(self, parts: Sequence[Part]) -> Iterator[Tensor]:
        self._keys[:] = [(part.positions.numpy(), None if part.seeds is None else part.seeds.numpy()) for part in parts]
        for images in self._from_workers():
            # A worker returns an error, since one that it raises would arrive with the text of its traceback.
            if isinstance(images, InputError):
                raise images
            yield images.to(self._device, non_blocking=True)

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
        self.crop = crop

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray | None]) -> Tensor | InputError:
        positions, seeds = key
        files = [os.fsdecode(name) for name in self.files[positions]]
        images = torch.empty(len(files), 3, self.size, self.size, dtype=torch.uint8)
        try:
            failures = decode_into(images, self.root, files, partial(self._cut, seeds))
        except InputError as error:
            return error
        if not failures:
            return images
        remedy = "replace them and resume; check=pixels finds all such files at the start"
        return unreadable(failures, f"{len(files)} images of a batch from {self.root}", remedy)

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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # torchrun says how many processes share this machine; each of them has a loader.
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
