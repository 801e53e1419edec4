"""What a step costs whose teacher's outputs are stored, beside the student's own step, in turn in one run.

    python experiments/benchmarks/stored.py --json runs/stored.json

Random images in the shape of CIFAR-100-LT at factor 100, cropped and flipped by the loader; each side steps through the
same batches. ``student`` is a step on cross-entropy with no teacher at all. ``first run`` finds nothing and stores all,
``stored`` finds all. Times are those of the process (CPU time) and ratios medians of neighbouring steps.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import trg_pyg.distillers
from experiments.benchmarks._measure import Work, in_turn, ms, ratio, show
from trg_pyg.data.base import ImageSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.data.loading.loader import BatchLoader
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.zoo import build_model
from trg_pyg.training.compiled import convolutions_channels_last
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import SINGLE_PROCESS
from trg_pyg.training.learner import Learner, Seeds, Trainee
from trg_pyg.training.teacher_store import StoreLevel, TeacherStore, Views
from trg_pyg.training.teaching import Teaching

_AUGMENT = Augment(4, flip=True)
# What each side is: the method, what it stores, and whether that is there already.
_SIDES: dict[str, tuple[str, StoreLevel | None, bool]] = {
    "student": ("Vanilla", None, False),
    "KD": ("KD", None, False),
    "KD, first run": ("KD", "logits", False),
    "KD, stored": ("KD", "logits", True),
    "TRG": ("TRG", None, False),
    "TRG, first run": ("TRG", "maps", False),
    "TRG, stored": ("TRG", "maps", True),
}


@dataclass(frozen=True)
class Row:
    """A side's step.

    Attributes:
        pair: teacher and student.
        side: what takes the step.
        ms: median milliseconds of CPU time.
        over_student: its time over that of the student alone.
        over_unstored: its time over that of the same method without a store.
        over_stored_KD: its time over that of KD with all stored.
    """

    pair: str
    side: str
    ms: float
    over_student: float
    over_unstored: float | None
    over_stored_KD: float


def stepper(
    student: str, teacher: nn.Module, side: str, train: ImageSet, folder: Path, steps: int, compiled: bool
) -> tuple[Work, Any]:
    """Return a function that takes a step of a side, the same batches in the same order as every other, and its end.

    Args:
        student: name of the network.
        teacher: the network.
        side: one of the sides.
        train: the images.
        folder: for what is stored.
        steps: that will be taken; where all is there already, these are stored here.
        compiled: whether networks and losses are.
    """
    method, level, there = _SIDES[side]
    config, stack = TrainConfig(compile=compiled), ExitStack()
    torch.manual_seed(0)
    cls = getattr(trg_pyg.distillers, method)
    network, tapped = (
        TappedModel(each, [] if cls.taps == "none" else cls.taps) for each in (build_model(student, 100), teacher)
    )
    size = train.image_size
    trainee = Trainee(network, cls(network.describe(size), tapped.describe(size)), tapped)
    teaching = Teaching([tapped if cls.needs_teacher else None], size, config, SINGLE_PROCESS, torch.device("cpu"))
    stack.enter_context(convolutions_channels_last([network, *teaching.networks]))
    options: dict[str, Any] = {"device": torch.device("cpu"), "world": SINGLE_PROCESS}
    learner = Learner(trainee, train, config, seeds=Seeds(0, 0, 0, 0), steps=len(train), **options)
    if level is not None:
        store = TeacherStore(folder / side, level, "random")
        teaching.keep(store, train, Views.of(_AUGMENT, config, train))
        if there:
            for _, batch in zip(range(steps), _batches(train), strict=False):
                teaching.fill(batch)
    batches = _batches(train)

    def step() -> None:
        batch = next(batches)
        learner.backward(batch, teaching(batch.inputs, [True], batch.slot)[0], 1.0, last=True)
        learner.update()

    return step, stack


def _batches(train: ImageSet) -> Iterator[Any]:
    loader = BatchLoader(train, TrainConfig().batch_size, augment=_AUGMENT, generator=torch.Generator().manual_seed(0))
    while True:
        yield from loader


def measure(
    pairs: tuple[str, ...] = ("resnet32x4-resnet8x4", "resnet56-resnet20"),
    images: int = 10_847,
    steps: int = 20,
    sides: tuple[str, ...] = tuple(_SIDES),
    compiled: bool = False,
    device: str = "cpu",
) -> list[Row]:
    """Return milliseconds a step of each side, and their ratios.

    Args:
        pairs: networks of the zoo, as teacher-student.
        images: of the training set, random, 32x32, of 100 classes.
        steps: counted steps of each side, after 3 that are not.
        sides: which of the sides; student and "KD, stored" are among them.
        compiled: whether networks and losses are.
        device: cpu.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    train = ImageSet(pixels, torch.arange(images) % 100)
    rows: list[Row] = []
    for pair in pairs:
        teacher, _, student = pair.partition("-")
        torch.manual_seed(1)
        network = build_model(teacher, 100)
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            works = {}
            for side in sides:
                works[side], end = stepper(student, network, side, train, Path(folder), steps + 3, compiled)
                stack.enter_context(end)
            taken = in_turn(works, steps, warm_up=3, clock=time.process_time)
        rows += [_row(pair, side, taken) for side in sides]
    return rows


def _row(pair: str, side: str, taken: dict[str, list[float]]) -> Row:
    own, unstored = taken[side], taken.get(side.partition(",")[0])
    over_unstored = None if unstored is None else ratio(own, unstored)
    return Row(pair, side, ms(own), ratio(own, taken["student"]), over_unstored, ratio(own, taken["KD, stored"]))


if __name__ == "__main__":
    show(measure)
