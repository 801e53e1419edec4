"""One forward pass of a teacher for all students that it teaches."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trg_pyg._size import Size
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.modules import FrozenTeacher, compiled_sizes

# Of a student's teacher: outputs for the images of a step, or what gives them for the student's own views, of which so
# many have labels.
Heard = Outputs | Callable[[Tensor, int], Outputs | None] | None


class _Pass(NamedTuple):
    """A network's forward pass and who listens: place of each student, and which of the features it reads."""

    network: FrozenTeacher
    listeners: dict[int, list[int]]


class Teaching:
    """The teachers of several students; those that are one network, differently tapped, run as one.

    Args:
        teachers: one for each student, frozen in place; None for a student without a teacher.
        image_size: side of the images, or height and width.
        config: precision of the forward passes, and whether they are compiled.
        world: the processes of the training.
        device: where the teachers go.
        apart: whether a student sees images of its own, by :meth:`~trg_pyg.distillers.base.Distiller.views`; empty
            where none does.
    """

    def __init__(
        self,
        teachers: Sequence[TappedModel | None],
        image_size: Size,
        config: TrainConfig,
        world: World,
        device: torch.device,
        apart: Sequence[bool] = (),
    ) -> None:
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
            tapped, listeners = _joined(group, image_size)
            network = FrozenTeacher(tapped, config.precision, compile_for=compile_for).to(device)
            self._passes.append(_Pass(network, listeners))

    @property
    def networks(self) -> list[FrozenTeacher]:
        """The frozen networks."""
        return [each.network for each in self._passes]

    def __call__(self, images: Tensor, wanted: Sequence[bool]) -> list[Heard]:
        """Return what each student's teacher says of the images ``[B, 3, H, W]``.

        Args:
            images: the images.
            wanted: which students listen; a network that nobody listens to does not run.
        """
        heard: list[Heard] = [None] * self._students
        for student in self._apart:
            heard[student] = partial(self._alone, student)
        for network, listeners in self._passes:
            present = [student for student in listeners if wanted[student] and student not in self._apart]
            if not present:
                continue
            outputs = network(images)
            for student in present:
                heard[student] = _as_tapped(outputs, listeners[student])
        return heard

    def _alone(self, student: int, images: Tensor, labelled: int) -> Outputs | None:
        for network, listeners in self._passes:
            if student in listeners:
                return _as_tapped(network(images, labelled), listeners[student])
        return None


def _as_tapped(outputs: Outputs, taps: list[int]) -> Outputs:
    return outputs._replace(features=tuple(outputs.features[tap] for tap in taps))


def _joined(group: dict[int, TappedModel], image_size: Size) -> tuple[TappedModel, dict[int, list[int]]]:
    """Return the network with all taps that its students read, and which of them each reads."""
    first, *others = group.values()
    if not others:
        first.describe(image_size)
        return first, {student: list(range(len(first.taps or ()))) for student in group}
    for tapped in group.values():
        tapped.describe(image_size)  # finds the taps that nobody named
    taps = list(dict.fromkeys(tap for tapped in group.values() for tap in tapped.taps or ()))
    listeners = {student: [taps.index(tap) for tap in tapped.taps or ()] for student, tapped in group.items()}
    return TappedModel(first.model, taps, first.normalize, first.prefix_tokens), listeners
