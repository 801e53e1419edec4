"""A teacher's outputs in files, so that whoever shows it the same view of the same image again need not ask it."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, get_args, overload

import numpy as np
import torch
from torch import Tensor

from trg_pyg.data.base import Augmentation, Source
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.data.video.video_data import VideoSet
from trg_pyg.errors import check_choice, require
from trg_pyg.models.taps import Outputs
from trg_pyg.models.weights import digest_of
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.modules import FrozenTeacher

StoreLevel = Literal["logits", "embedding", "maps", "auto"]

_LOGITS, _EMBEDDING, _TAP = "logits", "embedding", "tap "
_DIGEST = 16
# Fewer images at once are computed by other routines, which round differently.
_FEWEST = 8


class Views(NamedTuple):
    """The views of an image that a training shows.

    Attributes:
        number: how many there are.
        about: what they are, for the name of a file.
    """

    number: int
    about: str

    @classmethod
    def of(cls, augment: Augmentation | None, config: TrainConfig, train_set: Source) -> "Views":
        """Return those of a recipe for some images.

        Raises:
            InputError: there are too many to be stored, or the items are no images.
        """
        require(
            not isinstance(train_set, InputSet | VideoSet),
            "teacher_store keeps what a teacher says of images, and these data are none; set teacher_store to off",
        )
        require(
            not train_set.task.answers_for,
            "teacher_store keeps a row for each view of an image, and these networks answer for each "
            f"{train_set.task.answers_for}; set teacher_store to off",
        )
        names = ("randaugment", "trivialaugment", "erasing", "mixup", "cutmix")
        changes = [f"train.{name} = {value}" for name in names if (value := getattr(config, name))]
        cropped = isinstance(augment, RandomResizedCrop)
        if config.views:
            about = [f"{config.views} views", str(vars(augment) if augment else ""), *changes]
            if changes:  # what is drawn may differ from version to version
                about += [f"{package} {version(package)}" for package in ("numpy", "torchvision")]
            if config.mixes:  # with others of the set
                places = torch.arange(len(train_set)) if train_set.places is None else train_set.places
                about.append(hashlib.sha256(places.numpy().data).hexdigest())
            return cls(config.views, ", ".join(about))
        endless = [*changes, *(["crop=resized"] if cropped else [])]
        require(
            not endless,
            f"teacher_store: with {' and '.join(endless)} each view of an image is new, and nothing would be found "
            "again; set train.views to a number of fixed views, such as 32, or teacher_store to off",
        )
        if isinstance(augment, Augment):
            return cls(augment.views, f"crop_padding {augment.crop_padding}, flip {augment.flip}")
        return cls(1, "as they are")


class TeacherStore:
    """Where outputs of teachers are kept for later, and which of them.

    A row is what a teacher gives for one view of one image. Each kind of output has a file of its own in ``folder``,
    known by a hash of the teacher's weights, of how it rounds, of the images and of their views: several teachers,
    methods and runs, one after another or at the same time, share a folder and what is in it. A file is sparse: it
    grows with the rows that were needed.

    Every row has a hash of its content and place, and one that does not match is computed again: a process may be
    killed at any moment, and several may write, without a lock. Where a file cannot be written, a warning says so
    once, and the training goes on with what is there.

    Args:
        folder: of the files; made if need be.
        level: ``"logits"``; ``"embedding"``: these and what the classifier takes; ``"maps"``: these and the tapped
            features; ``"auto"``: the most of these that takes ``most_bytes`` or less.
        images: names the whole data set, pixels included: an image of another name, and of the same place, is another.
        most_bytes: of the files, once every slot is filled; looked at by ``"auto"`` only.
        on_fill: has a training fill all rows before its first step; it is told how many images are done, and of how
            many. ``None`` fills them as they are needed.

    Attributes:
        asked: rows that were asked for.
        computed: images that went through a teacher for them, those that fill a batch up included.

    Raises:
        InputError: the level is none of these.
    """

    def __init__(
        self,
        folder: Path,
        level: StoreLevel,
        images: str,
        most_bytes: int = 8 * 10**9,
        on_fill: Callable[[int, int], None] | None = None,
    ) -> None:
        check_choice("teacher_store", level, get_args(StoreLevel))
        self.folder, self.level, self.images, self.most_bytes = folder, level, images, most_bytes
        self.on_fill = on_fill
        self.asked = self.computed = 0

    def open(
        self,
        network: FrozenTeacher,
        shape: Sequence[int],
        batch: int,
        views: Views,
        rows: int,
        slots: int | None = None,
        device: torch.device | str = "cpu",
    ) -> "StoredTeacher | None":
        """Return the teacher with its rows, or ``None`` where none can be kept, which a warning then says.

        The teacher is tried on noise: a row has to be the same to the bit whatever the other rows are, and however many
        of the sizes of batches that misses are computed in. Where it depends on the size, whole batches are computed,
        and rows are for batches of this size only; where it depends on the other rows, nothing is stored.

        Args:
            network: on its device, as it is to be asked.
            shape: of an image: channels, height, width.
            batch: images that the teacher is usually asked for at once.
            views: of an image.
            rows: that there may be, images times views; for ``"auto"``.
            slots: above the highest slot; on a GPU, where that many rows take at most half of its free memory, those
                that were needed are kept there too. ``None`` stands for ``rows``.
            device: of the images.
        """
        device = torch.device(device)
        trial = _Trial(network, shape, batch, device)
        name = type(network.teacher.model).__name__
        if not trial.repeats:
            _warn(f"what {name} gives for an image is not the same in every batch", "nothing is stored")
            return None
        columns = _columns(network, trial.reference)
        each = {column: _row_bytes(x, network.rounded) for column, x in columns.items()}
        kept = self._kept(each, rows)
        if not kept:
            least = rows * each[_LOGITS]
            _warn(f"all logits of {name} take {least:,} bytes, more than {self.most_bytes:,}", "nothing is stored")
            return None
        identity = {
            "weights": digest_of(network.teacher),
            "images": self.images,
            "views": views.about,
            "precision": network.precision,
            "rounded": network.rounded,
            "batch": None if trial.any_size else batch,
        }
        files: dict[str, _Rows] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for column in kept:
                key = hashlib.sha256(json.dumps([identity, column, *_look(columns[column])]).encode())
                safe = "".join(letter if letter.isalnum() else "_" for letter in column)
                path = self.folder / f"{name}-{safe}-{key.hexdigest()[:16]}.rows"
                files[column] = _Rows(path, key.digest(), columns[column], network.rounded)
        except OSError as error:
            for opened in files.values():
                opened.close()
            _warn(f"{self.folder} cannot be written to ({error})", "nothing is stored")
            return None
        for column in kept:
            files[column].keep_on(device, slots or rows)
        return StoredTeacher(self, network, files, trial)

    def _kept(self, each: Mapping[str, int], rows: int) -> list[str]:
        """Return the outputs that are stored, of those whose rows take so many bytes each."""
        levels = {"logits": [_LOGITS], "embedding": [_LOGITS, _EMBEDDING], "maps": list(each)}
        if self.level != "auto":
            return [column for column in levels[self.level] if column in each]
        fitting: list[str] = []
        for level in levels.values():
            present = [column for column in level if column in each]
            if rows * sum(each[column] for column in present) <= self.most_bytes:
                fitting = present
        return fitting


class StoredTeacher:
    """A teacher that is asked only for what is not in its files; made by :meth:`TeacherStore.open`.

    Attributes:
        looked_at: names of the outputs that somebody has looked at so far; those of the next batch are there at once.
    """

    def __init__(self, store: TeacherStore, network: FrozenTeacher, rows: "dict[str, _Rows]", trial: "_Trial") -> None:
        self._store, self._network, self._rows, self._trial = store, network, rows, trial
        self._asks_more = False
        self.looked_at: dict[str, None] = {}

    def __call__(self, images: Tensor, slots: Tensor) -> "StoredOutputs | Outputs":
        """Return what the teacher gives for images, computed where it is asked for and not known.

        Args:
            images: uint8 ``[B, C, H, W]``.
            slots: the row of each image, int64 ``[B]`` on the CPU: the same number for the same pixels always.
        """
        self._store.asked += len(images)
        if self._asks_more or not self._trial.fits(len(images)):
            return self._compute(images)
        batch = _Batch(self, images, slots.numpy())
        # Before the student runs, whose activations would leave no memory to the teacher's but new.
        for name in self.looked_at:
            batch.column(name)
        has_embedding = self._trial.reference.embedding is not None
        return StoredOutputs(batch.column, _taps(self._network), has_embedding)

    def fill(self, images: Tensor, slots: Tensor) -> None:
        """Store the logits of images, as a call takes them, of batches of any size where that is possible."""
        if self._trial.any_size or self._trial.fits(len(images)):
            _Batch(self, images, slots.numpy()).column(_LOGITS)

    def close(self) -> None:
        """Close the files."""
        for rows in self._rows.values():
            rows.close()

    def ask_always(self, name: str) -> None:
        """Ask the teacher for every image from now on, since a method looks at what is not stored."""
        if not self._asks_more:
            _warn(f"a method looks at {name}, which is not stored", "the teacher is asked for every image; store more")
        self._asks_more = True

    def _compute(self, images: Tensor) -> Outputs:
        self._store.computed += len(images)
        outputs: Outputs = self._network(images)
        return outputs


class StoredOutputs:
    """The :class:`~trg_pyg.models.taps.Outputs` of a batch, each read or computed if it is looked at.

    So a method that looks at logits alone reads no maps, and one that looks at what is not stored has the teacher
    compute it.

    Args:
        column: gives an output by its name.
        taps: names of the features.
        has_embedding: whether there is one.
    """

    def __init__(self, column: Callable[[str], Tensor], taps: Sequence[str], has_embedding: bool) -> None:
        self._column, self._taps, self._has_embedding = column, taps, has_embedding
        self.features: Sequence[Tensor] = _Features(column, taps)

    @property
    def logits(self) -> Tensor:
        """``[B, classes]``."""
        return self._column(_LOGITS)

    @property
    def embedding(self) -> Tensor | None:
        """``[B, d]``; ``None`` where the network has none."""
        return self._column(_EMBEDDING) if self._has_embedding else None

    def tapped(self, taps: Sequence[int]) -> "StoredOutputs":
        """Return the same with some of the features."""
        return StoredOutputs(self._column, [self._taps[tap] for tap in taps], self._has_embedding)

    def whole(self) -> Outputs:
        """Return all of it now."""
        return Outputs(self.logits, tuple(self.features), self.embedding)

    def __iter__(self) -> Iterator[Any]:
        # Outputs is a tuple of these three.
        return iter((self.logits, self.features, self.embedding))


class _Features(Sequence[Tensor]):
    def __init__(self, column: Callable[[str], Tensor], names: Sequence[str]) -> None:
        self._column, self._names = column, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...

    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        if isinstance(index, slice):
            return tuple(map(self._column, self._names[index]))
        return self._column(self._names[index])


class _Batch:
    """What is known of one batch: what was read, and what was computed."""

    def __init__(self, owner: StoredTeacher, images: Tensor, slots: np.ndarray) -> None:
        self._owner, self._images, self._slots = owner, images, slots
        self._known: dict[str, Tensor] = {}
        self._runs: list[tuple[np.ndarray, dict[str, Tensor]]] = []

    def column(self, name: str) -> Tensor:
        if name not in self._known:
            self._owner.looked_at[name] = None
            rows = self._owner._rows.get(name)
            if rows is None:
                self._owner.ask_always(name)
            whole = [outputs for places, outputs in self._runs if len(places) == len(self._slots)]
            self._known[name] = whole[0][name] if whole else self._read(name, rows)
        return self._known[name]

    def _read(self, name: str, rows: "_Rows | None") -> Tensor:
        count, owner = len(self._slots), self._owner
        if rows is None:
            self._run(np.arange(count))
            return self._runs[-1][1][name]
        values, found = rows.read(self._slots, self._images.device)
        missing = ~found
        if missing.any() and not owner._trial.any_size:
            missing[:] = True
        for places, _ in self._runs:
            missing[places] = False
        if missing.any():
            self._run(np.flatnonzero(missing))
        for places, outputs in self._runs:
            if len(places) == count:  # in the layout that the network gave it
                return outputs[name]
            values[torch.from_numpy(places).to(values.device)] = outputs[name]
        return values

    def _run(self, places: np.ndarray) -> None:
        """Compute some images, filled up with others of them to one of the sizes that were tried."""
        owner, count = self._owner, len(self._slots)
        size = owner._trial.size_for(len(places))
        if owner._trial.fits(count) and (len(places) == count or size >= count):
            places, size = np.arange(count), count
        images = self._images
        if size != count:
            images = images[torch.from_numpy(np.resize(places, size)).to(images.device)]
        outputs = {name: x[: len(places)] for name, x in _columns(owner._network, owner._compute(images)).items()}
        self._runs.append((places, outputs))
        for name, rows in owner._rows.items():
            rows.write(self._slots[places], outputs[name])


class _Trial:
    """Whether a row of a teacher is the same to the bit in any batch, tried on noise.

    Attributes:
        reference: outputs for a usual batch of noise.
        repeats: whether a row is the same among other rows of a usual batch.
        any_size: whether it is so in all sizes of batches that misses are computed in.
    """

    def __init__(self, network: FrozenTeacher, shape: Sequence[int], batch: int, device: torch.device) -> None:
        self._network, self._batch = network, batch
        generator = torch.Generator().manual_seed(0)
        # The first ones are the same however large the batch is.
        pixels = torch.randint(256, (max(batch, _FEWEST), *shape), dtype=torch.uint8, generator=generator)
        self._noise = pixels.to(device)
        self.reference: Outputs = network(self._noise)
        every = torch.arange(len(pixels))
        self._step = max(_FEWEST, -(-batch // _FEWEST))
        self.repeats = self._same(every.roll(1))
        self._fits = {len(pixels): self.repeats}
        self.any_size = self.repeats and all(self._same(every[-size:]) for size in range(self._step, batch, self._step))

    def size_for(self, images: int) -> int:
        """Return the number of images that so many are computed with."""
        return min(-(-images // self._step) * self._step, len(self._noise))

    def fits(self, images: int) -> bool:
        """Whether a row of a batch of this size is the row of a usual batch."""
        if images not in self._fits:
            few = images <= len(self._noise)
            self._fits[images] = self.any_size and few and self._same(torch.arange(images))
        return self._fits[images]

    def _same(self, rows: Tensor) -> bool:
        rows = rows.to(self._noise.device)
        one, other = (
            _columns(self._network, outputs) for outputs in (self._network(self._noise[rows]), self.reference)
        )
        return all(torch.equal(one[name], other[name][rows]) for name in one)


class _Layout(NamedTuple):
    """How the values of a row lie in memory, which decides how sums over them are rounded."""

    shape: tuple[int, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, values: Tensor) -> "_Layout":
        strides = values.stride()
        order = sorted(range(1, values.dim()), key=lambda axis: -strides[axis])
        return cls(tuple(values.shape[1:]), tuple(order))

    def flat(self, values: Tensor) -> Tensor:
        """Return rows ``[R, ...]`` one value after another, ``[R, size]``."""
        return values.permute(0, *self.order).reshape(len(values), -1)

    def restored(self, flat: Tensor) -> Tensor:
        """Return what ``flat`` was given, in the same layout."""
        permuted = flat.view(len(flat), *(self.shape[axis - 1] for axis in self.order))
        back = [0] * (1 + len(self.order))
        for place, axis in enumerate(self.order, start=1):
            back[axis] = place
        return permuted.permute(back)


class _Rows:
    """The rows of one output in a file, each behind its hash.

    It is read and written, not mapped into memory: a full disk, or one that fails, is an error that can be answered,
    where a mapping would end the process.

    Args:
        path: of the file.
        key: of all that a row depends on but its slot.
        example: some outputs.
        half: whether values are such of float16.
    """

    def __init__(self, path: Path, key: bytes, example: Tensor, half: bool) -> None:
        self.path, self._layout = path, _Layout.of(example)
        self._key = hashlib.sha256(key)
        self._dtype = torch.float16 if half else torch.float32
        self._bytes = _row_bytes(example, half)
        self._memory: Tensor | None = None
        self._there = np.zeros(0, bool)
        path.touch()
        self._file: IO[bytes] | None = path.open("r+b", buffering=0)
        self._writes = True
        self._records = np.empty((0, self._bytes), np.uint8)

    def keep_on(self, device: torch.device, slots: int) -> None:
        """Keep rows on a GPU too, where so many take at most half of its free memory."""
        size = (self._bytes - _DIGEST) // self._dtype.itemsize
        if slots * size * self._dtype.itemsize <= _free_bytes(device) / 2:
            self._memory = torch.zeros(slots, size, dtype=self._dtype, device=device)
            self._there = np.zeros(slots, bool)

    def read(self, slots: np.ndarray, device: torch.device) -> tuple[Tensor, np.ndarray]:
        """Return rows ``[R, ...]`` in float32, and which of them there are; the others hold anything."""
        if self._memory is None:
            flat, found = self._read_file(slots)
            return self._layout.restored(flat.to(device).float()), found
        new = slots[~self._there[slots]]
        if len(new):
            flat, found = self._read_file(new)
            self._remember(new[found], flat[torch.from_numpy(found)])
        return self._layout.restored(self._memory[torch.from_numpy(slots).to(device)].float()), self._there[slots]

    def write(self, slots: np.ndarray, values: Tensor) -> None:
        """Keep rows ``[R, ...]``."""
        flat = self._layout.flat(values).to(self._dtype)
        self._remember(slots, flat)
        if self._file is None or not self._writes:
            return
        # A GPU is waited for here, and only where something is new.
        contents = flat.cpu().contiguous().numpy().view(np.uint8)
        try:
            for slot, content in zip(slots.tolist(), contents, strict=True):
                record = self._digest(slot, content) + content.tobytes()
                self._file.seek(slot * self._bytes)
                if self._file.write(record) < len(record):
                    raise OSError("no space left on device")
        except OSError as error:
            self._writes = False
            _warn(f"{self.path} cannot be written ({error})", "nothing more is stored; free some space")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _remember(self, slots: np.ndarray, flat: Tensor) -> None:
        if self._memory is not None and len(slots):
            self._memory[torch.from_numpy(slots).to(self._memory.device)] = flat.to(self._memory.device)
            self._there[slots] = True

    def _read_file(self, slots: np.ndarray) -> tuple[Tensor, np.ndarray]:
        if len(self._records) < len(slots):  # kept, since new memory costs more than what is read into it
            self._records = np.empty((len(slots), self._bytes), np.uint8)
        records, found = self._records[: len(slots)], np.zeros(len(slots), bool)
        try:
            for number, slot in enumerate(slots.tolist()):
                found[number] = self._read_into(records[number], slot)
        except OSError as error:
            self.close()
            found[:] = False
            _warn(f"{self.path} cannot be read ({error})", "the teacher is asked for every image")
        return torch.from_numpy(records[:, _DIGEST:].copy()).view(self._dtype), found

    def _read_into(self, record: np.ndarray, slot: int) -> bool:
        if self._file is None:
            return False
        self._file.seek(slot * self._bytes)
        read = self._file.readinto(record)  # type: ignore[attr-defined]
        stated = record[:_DIGEST].tobytes()
        return read == len(record) and stated != bytes(_DIGEST) and stated == self._digest(slot, record[_DIGEST:])

    def _digest(self, slot: int, content: "np.ndarray[Any, Any]") -> bytes:
        digest = self._key.copy()
        digest.update(slot.to_bytes(8, "little"))
        digest.update(content.data)
        return digest.digest()[:_DIGEST]


def _taps(network: FrozenTeacher) -> list[str]:
    return [f"{_TAP}{path}" for path in network.teacher.taps or ()]


def _columns(network: FrozenTeacher, outputs: Outputs) -> dict[str, Tensor]:
    """Return outputs by name."""
    columns = {_LOGITS: outputs.logits}
    if outputs.embedding is not None:
        columns[_EMBEDDING] = outputs.embedding
    return columns | dict(zip(_taps(network), outputs.features, strict=True))


def _look(values: Tensor) -> tuple[_Layout, str]:
    """Return how outputs lie in memory, and a hash of the first ones.

    Whatever decides how the teacher rounds - device, compilation, versions, threads - shows in these.
    """
    layout = _Layout.of(values)
    return layout, hashlib.sha256(layout.flat(values[:_FEWEST]).cpu().contiguous().numpy().data).hexdigest()


def _row_bytes(values: Tensor, half: bool) -> int:
    return _DIGEST + values[0].numel() * (2 if half else 4)


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _warn(what: str, so: str) -> None:
    warnings.warn(f"teacher store: {what}: {so}", stacklevel=2)
