"""Cost of a training step of every method, in one run, step by step in turn.

    python experiments/benchmarks/step.py --methods "[KD,TRG]"

The floor is what no method can avoid: the teacher's forward pass and a step of the student on cross-entropy. Each is
run plain and, with ``--lowered true``, as ``train.compile`` and ``train.channels_last`` make it. Ratios are medians of
the ratios of neighbouring steps, so that a machine that slows down slows both sides of a ratio.
"""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import trg_pyg.distillers
from experiments.benchmarks._measure import Work, in_turn, ms, ratio, show
from trg_pyg._discover import subclasses
from trg_pyg.batch import Batch
from trg_pyg.data.base import ImageSet
from trg_pyg.distillers.base import Distiller
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.zoo import build_model
from trg_pyg.training.compiled import convolutions_channels_last
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import SINGLE_PROCESS
from trg_pyg.training.learner import Learner, Seeds, Trainee
from trg_pyg.training.teaching import Teaching

# More students at once are a question of memory rather than of speed.
_MOST_TOGETHER = 4


@dataclass(frozen=True)
class Row:
    """A method's step.

    Attributes:
        method: class name, or floor.
        networks: plain, or lowered: compiled and channels last.
        ms: median milliseconds a step.
        over_floor: its time over that of the floor with the same networks.
        over_kd: its time over that of KD with the same networks.
        speedup: of the lowered networks: how many times faster than plain.
        over_alone: of several methods that share the teacher's forward pass: over the sum of their own steps.
    """

    method: str
    networks: str
    ms: float
    over_floor: float
    over_kd: float | None
    speedup: float | None
    over_alone: float | None = None


def stepper(
    student: str,
    teacher: nn.Module,
    methods: list[type[Distiller]],
    share: Batch,
    num_classes: int,
    train_images: int,
    config: TrainConfig,
    stack: ExitStack,
    learner_class: type[Learner] = Learner,
) -> Work:
    """Return a function that takes one training step by each of some methods, which share the teacher's forward pass.

    For Vanilla the teacher runs too.

    Args:
        student: name of the network.
        teacher: the network.
        methods: the distillers.
        share: what is learnt in each step.
        num_classes: classes.
        train_images: size of the training set, for memory banks.
        config: how the networks run.
        stack: what it enters stays until it is closed.
        learner_class: what takes the steps.
    """
    device, size = share.inputs.device, share.inputs.shape[-1]
    trainees = []
    for method in methods:
        torch.manual_seed(0)
        taps: Any = [] if method.taps == "none" else method.taps
        network, tapped = TappedModel(build_model(student, num_classes), taps), TappedModel(teacher, taps)
        trainees.append(Trainee(network, method(network.describe(size), tapped.describe(size)), tapped))
    teaching = Teaching([trainee.teacher for trainee in trainees], size, config, SINGLE_PROCESS, device)
    if config.channels_last:
        networks = [trainee.student for trainee in trainees]
        stack.enter_context(convolutions_channels_last([*networks, *teaching.networks]))
    # Only the labels are looked at, so one image stands for all.
    everything = ImageSet(share.inputs[:1].expand(train_images, -1, -1, -1), torch.arange(train_images) % num_classes)
    options: dict[str, Any] = {"seeds": Seeds(0, 0, 0, 0), "device": device, "world": SINGLE_PROCESS}
    learners = [learner_class(trainee, everything, config, steps=train_images, **options) for trainee in trainees]

    def step() -> None:
        heard = teaching(share.inputs, [True] * len(learners))
        for learner, teacher_outputs in zip(learners, heard, strict=True):
            learner.backward(share, teacher_outputs, 1.0, last=True)
            learner.update()

    return step


def teacher_and_share(teacher: str, batch_size: int, num_classes: int, device: str) -> tuple[nn.Module, Batch]:
    """Return a network of the zoo, and random images of 32x32 to be learnt in each step."""
    torch.manual_seed(0)
    images = torch.randint(256, (batch_size, 3, 32, 32), dtype=torch.uint8).to(device)
    index = torch.arange(batch_size, device=device)
    return build_model(teacher, num_classes).to(device), Batch(images, index % num_classes, index, batch_size)


def measure(
    methods: tuple[str, ...] = ("KD", "TRG"),
    teacher: str = "resnet56",
    student: str = "resnet20",
    batch_size: int = 64,
    steps: int = 40,
    num_classes: int = 100,
    train_images: int = 50_000,
    lowered: bool = False,
    device: str = "cpu",
) -> list[Row]:
    """Return milliseconds a step of each method, over the floor and over KD.

    Args:
        methods: distillers by class name; [all] for every one.
        teacher: network of the zoo.
        student: network of the zoo.
        batch_size: images of 32x32 a step.
        steps: counted steps of each, after 5 that are not.
        num_classes: classes.
        train_images: size of the training set, for memory banks.
        lowered: run each with compiled networks and channels-last weights too.
        device: cpu or cuda.
    """
    if methods == ("all",):
        methods = tuple(cls.__name__ for cls in subclasses(Distiller))
    network, share = teacher_and_share(teacher, batch_size, num_classes, device)
    named: dict[str, type[Distiller]] = {name: getattr(trg_pyg.distillers, name) for name in methods}
    classes: dict[str, list[type[Distiller]]] = {"floor": [Vanilla]}
    classes |= {name: [cls] for name, cls in named.items()}
    if 1 < len(methods) <= _MOST_TOGETHER:
        classes[" + ".join(methods)] = list(named.values())
    ways = {"plain": TrainConfig(batch_size=batch_size, channels_last=False)}
    if lowered:
        ways["lowered"] = TrainConfig(batch_size=batch_size, compile=True)
    with ExitStack() as stack:
        # A teacher each: taps that others add to a compiled network would have it compiled once more.
        works = {
            f"{name} {way}": stepper(
                student, copy.deepcopy(network), cls, share, num_classes, train_images, config, stack
            )
            for way, config in ways.items()
            for name, cls in classes.items()
        }
        taken = in_turn(works, steps, warm_up=5, device=device)
    return [_row(name, way, taken, methods) for way in ways for name in classes]


def _row(name: str, way: str, taken: dict[str, list[float]], methods: Sequence[str]) -> Row:
    own = taken[f"{name} {way}"]
    alone = [sum(step) for step in zip(*(taken[f"{method} {way}"] for method in methods), strict=True)]
    return Row(
        name,
        way,
        ms(own),
        ratio(own, taken[f"floor {way}"]),
        ratio(own, taken[f"KD {way}"]) if f"KD {way}" in taken else None,
        ratio(taken[f"{name} plain"], own) if way == "lowered" else None,
        ratio(own, alone) if " + " in name else None,
    )


if __name__ == "__main__":
    show(measure)
