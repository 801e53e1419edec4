"""One forward pass of a teacher for all students that it teaches."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from trg_pyg._size import sides
from trg_pyg.batch import Batch, Inputs
from trg_pyg.data.base import Source
from trg_pyg.data.input_set import InputSet
from trg_pyg.models._probe import Example
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.modules import FrozenTeacher, compiled_sizes
from trg_pyg.training.teacher_store import StoredOutputs, StoredTeacher, TeacherStore, Views

# Of a student's teacher: outputs for the images of a step, or what gives them for the student's own views, of which so
# many have labels.
Heard = Outputs | Callable[[Inputs, int], Outputs | None] | None


class _Pass(NamedTuple):
    """A network's forward pass and who listens: place of each student, and which of the features it reads."""

    network: FrozenTeacher
    listeners: dict[int, list[int]]


class Teaching:
    """The teachers of several students; those that are one network, differently tapped, run as one.

    Args:
        teachers: one for each student, frozen in place; None for a student without a teacher.
        example: what networks are described with, such as the size of the images.
        config: precision of the forward passes, and whether they are compiled.
        world: the processes of the training.
        device: where the teachers go.
        apart: whether a student sees images of its own, by :meth:`~trg_pyg.distillers.base.Distiller.views`; empty
            where none does.
    """

    def __init__(
        self,
        teachers: Sequence[TappedModel | None],
        example: Example,
        config: TrainConfig,
        world: World,
        device: torch.device,
        apart: Sequence[bool] = (),
    ) -> None:
        self.config, self.device, self._world = config, device, world
        self._students = len(teachers)
        self._apart = [student for student, alone in enumerate(apart) if alone]
        alike: dict[tuple[int, ...], dict[int, TappedModel]] = {}
        for student, teacher in enumerate(teachers):
            if teacher is not None:
                key = id(teacher.model), id(teacher.normalize), teacher.prefix_tokens
                alike.setdefault(key, {})[student] = teacher
        compile_for = compiled_sizes(config, world)
        self._passes = []
        for group in alike.values():
            tapped, listeners = _joined(group, example)
            network = FrozenTeacher(tapped, config.precision, compile_for, config.round_teacher).to(device)
            self._passes.append(_Pass(network, listeners))
        self._stored: dict[FrozenTeacher, StoredTeacher] = {}

    @property
    def networks(self) -> list[FrozenTeacher]:
        """The frozen networks."""
        return [each.network for each in self._passes]

    def keep(self, store: TeacherStore, train_set: Source, views: Views) -> None:
        """Ask networks only for what is not in a store, until :meth:`close`.

        A student with images of its own, by its method's views, has its teacher asked for all of them.

        Args:
            store: where rows are kept.
            train_set: the images.
            views: of an image.
        """
        assert not isinstance(train_set, InputSet)  # Views has refused it
        share = self._world.part(min(self.config.batch_size, len(train_set)))[self._world.rank]
        batch = -(-share // self.config.accumulate)
        shape = (train_set.channels, *sides(train_set.image_size))
        places = train_set.places
        last = len(train_set) if places is None else 1 + int(places.max())
        for network, listeners in self._passes:
            if any(student not in self._apart for student in listeners):
                rows, slots = len(train_set) * views.number, last * views.number
                found = store.open(network, shape, batch, views, rows, slots, self.device)
                if found is not None:
                    self._stored[network] = found

    def fill(self, batch: Batch) -> None:
        """Have the logits of a batch stored."""
        for stored in self._stored.values():
            assert batch.slot is not None
            stored.fill(batch.inputs, batch.slot)

    def close(self) -> None:
        """Close the files of a store."""
        for stored in self._stored.values():
            stored.close()

    def __call__(self, images: Inputs, wanted: Sequence[bool], slots: Tensor | None = None) -> list[Heard]:
        """Return what each student's teacher says of the images ``[B, C, H, W]``.

        Args:
            images: the images, or what else networks take.
            wanted: which students listen; a network that nobody listens to does not run.
            slots: which view of which image each of them is, see :attr:`~trg_pyg.batch.Batch.slot`.
        """
        heard: list[Heard] = [None] * self._students
        for student in self._apart:
            heard[student] = partial(self._alone, student)
        for network, listeners in self._passes:
            present = [student for student in listeners if wanted[student] and student not in self._apart]
            if not present:
                continue
            stored = self._stored.get(network)
            outputs = network(images) if stored is None or slots is None else stored(cast(Tensor, images), slots)
            for student in present:
                heard[student] = _as_tapped(outputs, listeners[student])
        return heard

    def _alone(self, student: int, images: Inputs, labelled: int) -> Outputs | None:
        for network, listeners in self._passes:
            if student in listeners:
                return _as_tapped(network(images, labelled), listeners[student])
        return None


def _as_tapped(outputs: Outputs | StoredOutputs, taps: list[int]) -> Outputs:
    if isinstance(outputs, StoredOutputs):
        return cast(Outputs, outputs.tapped(taps))
    return outputs._replace(features=tuple(outputs.features[tap] for tap in taps))


def _joined(group: dict[int, TappedModel], example: Example) -> tuple[TappedModel, dict[int, list[int]]]:
    """Return the network with all taps that its students read, and which of them each reads."""
    first, *others = group.values()
    if not others:
        first.describe(example)
        return first, {student: list(range(len(first.taps or ()))) for student in group}
    for tapped in group.values():
        tapped.describe(example)  # finds the taps that nobody named
    taps = list(dict.fromkeys(tap for tapped in group.values() for tap in tapped.taps or ()))
    listeners = {student: [taps.index(tap) for tap in tapped.taps or ()] for student, tapped in group.items()}
    return TappedModel(first.model, taps, first.normalize, first.prefix_tokens), listeners
