"""What every loader does: epochs in batches, shared out over processes, and continued where they were broken off."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.batch import Batch
from trg_pyg.data._views import seeds_of
from trg_pyg.data.base import Augmentation, ImageSet
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.errors import require

Source = TypeVar("Source", ImageSet | InputSet, FileSet)


class LoaderState(TypedDict):
    """Where a loader stands; plain values and tensors on the CPU.

    Attributes:
        images: of the whole set.
        batch_size: images a batch, of all processes together.
        batches: given out in the epoch under way; 0 between epochs.
        epoch: state of the generator when that epoch began, uint8; between epochs that of now.
        generator: state of the generator now, uint8.
    """

    images: int
    batch_size: int
    batches: int
    epoch: Tensor
    generator: Tensor


class Part(NamedTuple):
    """What one process takes of a batch.

    Attributes:
        positions: int64 [B] in the set, on the CPU.
        on_device: the same on the device of the set.
        seeds: int64 [B] on the CPU, one for each image, or None.
        slots: int64 [B] on the CPU, of the fixed view of each image that is to be seen; None where views are not fixed.
        whole: images of the batch, those of all processes.
    """

    positions: Tensor
    on_device: Tensor
    seeds: Tensor | None
    slots: Tensor | None
    whole: int


class EpochLoader(ABC, Generic[Source]):
    """Base class of the loaders; one iteration at a time, each an epoch.

    Every draw comes from ``generator``: the order once an epoch, with a seed for each image that is to be cropped, and
    the augmentation once a batch. Saving and restoring its state between epochs continues the same run, and
    :meth:`state_dict` within one. Torch's global generator is neither read nor advanced.

    Every process draws what a single one would draw: the order of all images, and what happens to every image of a
    batch. It then takes its own rows of the batch, a contiguous part, as ``batch.tensor_split(world_size)[rank]``
    gives it. The generators of all processes advance alike, and the batches put together are those of one process.

    The options are those of :func:`~trg_pyg.data.loading.loader`, and so is what is refused.

    Attributes:
        view: the view that every image is shown in; None, as it is at first, draws one of each.
    """

    def __init__(
        self,
        image_set: Source,
        batch_size: int,
        *,
        augment: Augmentation | None = None,
        generator: torch.Generator | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        views: int = 0,
        pairs: bool = False,
        balanced: float = 0.0,
    ) -> None:
        require(
            isinstance(image_set, FileSet) or not isinstance(augment, RandomResizedCrop),
            "a RandomResizedCrop cuts out of image files, and these images are in memory; stream them, or take Augment",
        )
        count = len(image_set)
        _check_batch_size(batch_size, count, drop_last)
        _check_processes(batch_size, count, drop_last, rank, world_size)
        self.image_set: Source = image_set
        self.batch_size = batch_size
        self.augment = augment
        self.generator = torch.Generator() if generator is None else generator
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self.views, self.pairs = views, pairs
        self.view: int | None = None
        self._targets = image_set.targets
        self._chances = _chances(self._targets.cpu(), balanced) if balanced else None
        places = getattr(image_set, "places", None)
        self._places: Tensor = torch.arange(count) if places is None else places
        self._given = 0  # batches of the epoch under way; 0 between epochs
        self._start = self.generator.get_state()  # of the epoch under way
        self._resuming = False

    @abstractmethod
    def _images(self, parts: Sequence[Part]) -> Iterator[Any]:
        """Yield the images of each part, uint8 [B, C, H, W], or other inputs, on the device of the set."""

    def __len__(self) -> int:
        """Return the batches of a whole epoch, the same in each process."""
        batches = len(self._targets) / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def __iter__(self) -> Iterator[Batch]:
        """Yield this process's share of each batch, images uint8 [b, C, H, W] or other inputs, all on one device.

        An iteration that is abandoned is not continued by the next one, which
        begins a new epoch with the generator as it is then; :meth:`load_state_dict` continues it.
        """
        parts = self._begin()
        for part, images in zip(parts, self._images(parts), strict=True):
            slots, targets = part.slots, self._targets[part.on_device]
            if isinstance(self.augment, Augment):
                if slots is None:
                    draws = self._own(self._draws(part.whole, self.augment))
                    slots = self._places[part.positions] * self.augment.views + self.augment.number(draws)
                else:
                    draws = self.augment.fixed(slots)
                images = self.augment.apply(images, draws)
                targets = self.augment.apply_to_labels(targets, draws)
            elif self.augment is None and slots is None:
                slots = self._places[part.positions]
            # Counted before it is given out: who saves the state after a step of training has used this batch.
            self._given += 1
            yield Batch(images, targets, part.on_device, part.whole, slot=slots)
        self._given = 0

    def state_dict(self) -> LoaderState:
        """Return where the loader stands after the batches given out so far, whatever was read ahead.

        In the body of a loop over the loader the batch at hand counts as given out. The state is the same in every
        process and does not depend on their number, so that another number of processes can continue.
        """
        now = self.generator.get_state()
        return {
            "images": len(self._targets),
            "batch_size": self.batch_size,
            "batches": self._given,
            "epoch": self._start.clone() if self._given else now.clone(),
            "generator": now,
        }

    def load_state_dict(self, state: LoaderState) -> None:
        """Continue from a state: the next iteration gives what remained of that epoch, the following whole epochs.

        Nothing remains after the last batch, until its loop has ended: a state that was taken in the body of the loop
        is followed by an iteration without a batch, one that was taken after the loop by a new epoch.

        Args:
            state: of :meth:`state_dict`, by a loader with the same set, augmentation, ``shuffle`` and ``drop_last``.

        Raises:
            InputError: the state is none of a loader, or of one with another number of images or another
                ``batch_size``.
        """
        keys = LoaderState.__annotations__.keys()
        require(
            isinstance(state, dict) and state.keys() == keys,
            f"this is no state of a loader, which has {', '.join(keys)}; give what state_dict() returned",
        )
        for name, stated, own in (
            ("images", state["images"], len(self._targets)),
            ("batch_size", state["batch_size"], self.batch_size),
        ):
            require(
                stated == own,
                f"the loader's state is of one with {name} {stated}, and this one has {own}; continue with the same "
                "images and batch_size, or begin anew",
            )
        given = state["batches"]
        require(
            0 <= given <= len(self),
            f"the loader's state has given out {given} batches of an epoch, which has {len(self)} here; continue with "
            "the same drop_last, or begin anew",
        )
        self.generator.set_state(state["generator"])
        self._start = state["epoch"].clone()
        self._given = given
        self._resuming = given > 0

    def _begin(self) -> list[Part]:
        """Return what is to be given out: a new epoch, or what remains of one that is drawn again as it began."""
        now = self.generator.get_state()
        if self._resuming:
            self.generator.set_state(self._start)
        else:
            self._start, self._given = now, 0
        count = len(self._targets)
        # Drawn on the CPU so that one seed gives one order on every device.
        order = torch.randperm(count, generator=self.generator) if self.shuffle else torch.arange(count)
        if self._chances is not None:
            order = torch.multinomial(self._chances, count, replacement=True, generator=self.generator)
        # A seed belongs to an image, not to a place in the order.
        cropped = isinstance(self.augment, RandomResizedCrop)
        seeds = slots = None
        if self.views:
            drawn: Tensor | int | None = self.view
            if drawn is None:
                drawn = torch.randint(self.views, (count,), generator=self.generator)
            slots = (self._places * self.views + drawn)[order]
            seeds = seeds_of(slots, 1) if cropped else None
        elif cropped:
            seeds = torch.randint(2**62, (count,), generator=self.generator)[order]
        if self._resuming:
            self.generator.set_state(now)
            self._resuming = False
        own, whole = self._shares(order), self._batches(order)
        if self.pairs and slots is not None:
            return [self._paired(*part) for part in zip(own, self._shares(slots), map(len, whole), strict=True)]
        on_device = self._shares(to_device(order, self._targets.device))  # one copy an epoch
        own_seeds, own_slots = ([None] * len(own) if each is None else self._shares(each) for each in (seeds, slots))
        return [Part(*part) for part in zip(own, on_device, own_seeds, own_slots, map(len, whole), strict=True)]

    def _draws(self, count: int, augment: Augment) -> Tensor:
        if self.view is None:
            return augment.draw(count, self.generator)
        return augment.view(torch.full((count,), self.view))

    def _paired(self, positions: Tensor, slots: Tensor, whole: int) -> Part:
        """Return a part that has a fixed view of another image for each of its own, all of these behind all own."""
        others = seeds_of(slots, 3) % len(self._places)
        positions = torch.cat([positions, others])
        slots = torch.cat([slots, self._places[others] * self.views + seeds_of(slots, 4) % self.views])
        seeds = seeds_of(slots, 1) if isinstance(self.augment, RandomResizedCrop) else None
        return Part(positions, to_device(positions, self._targets.device), seeds, slots, whole)

    def _batches(self, values: Tensor) -> Sequence[Tensor]:
        """Split one value an image, in the order of the epoch, into the batches that are still to be given out."""
        return values.split(self.batch_size)[self._given : len(self)]

    def _shares(self, values: Tensor) -> Sequence[Tensor]:
        batches = self._batches(values)
        return batches if self.world_size == 1 else [self._own(batch) for batch in batches]

    def _own(self, batch: Tensor) -> Tensor:
        return batch.tensor_split(self.world_size)[self.rank]


def _chances(targets: Tensor, balanced: float) -> Tensor:
    """Return the probability of each image to be drawn."""
    require(
        targets.dim() == 1 and targets.dtype == torch.int64,
        f"balanced_sampling {balanced:g}: labels {tuple(targets.shape)} of type {targets.dtype} are not one class "
        "each; take every image once (0)",
    )
    _, of_class, counts = targets.unique(return_inverse=True, return_counts=True)
    return (counts.double() ** -balanced)[of_class] / len(targets)


def _check_batch_size(batch_size: int, count: int, drop_last: bool) -> None:
    require(batch_size >= 1, f"batch_size {batch_size} is below 1; a batch holds at least one image")
    require(
        not drop_last or batch_size <= count,
        f"batch_size {batch_size} is larger than the {count} images of the set and drop_last leaves no batch; choose a "
        f"batch_size of at most {count} or keep the last batch",
    )


def _check_processes(batch_size: int, count: int, drop_last: bool, rank: int, world_size: int) -> None:
    require(world_size >= 1, f"world_size {world_size} is below 1; it counts the processes that share a batch")
    require(
        0 <= rank < world_size,
        f"rank {rank} is none of {world_size} processes; give one from 0 to {world_size - 1}",
    )
    require(
        batch_size >= world_size,
        f"a batch of {batch_size} images cannot be shared by {world_size} processes, each needs one; choose a "
        f"batch_size of at least {world_size} or fewer processes",
    )
    last = 0 if drop_last else count % batch_size
    require(
        last == 0 or last >= world_size,
        f"batch_size {batch_size} leaves a last batch of {last} of {count} images, which cannot be shared by "
        f"{world_size} processes; choose another batch_size, fewer processes, or drop_last",
    )
