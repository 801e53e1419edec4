"""What it costs that inputs are checked, that numbers are looked at, and that algorithms are deterministic.

    python experiments/benchmarks/guard.py --methods "[KD,TRG,HKD]"

Each method's step is run as it is, without the guard (`trg_pyg/training/guard.py`: the checks, the copies of buffers,
the watch for silent parts), without the checks of shapes, types and labels in losses, relations and distillers, and
with ``train.deterministic``, in turn in one process. Ratios are medians of the ratios
of neighbouring steps, so that a machine that slows down slows both sides of a ratio. On a GPU cuBLAS is deterministic
on all sides, since it can't be switched over within a process.
"""

import copy
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import trg_pyg.distillers
from experiments.benchmarks._measure import Work, in_turn, ms, ratio, show
from experiments.benchmarks.step import stepper, teacher_and_share
from trg_pyg.distillers.base import Distiller
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.deterministic import deterministic_algorithms, set_cublas_workspace
from trg_pyg.training.guard import Silence
from trg_pyg.training.learner import Learner


@dataclass(frozen=True)
class Row:
    """A method's step.

    Attributes:
        method: class name.
        ms: median milliseconds a step, as it is.
        over_unguarded: its time over that without the guard.
        over_unchecked: its time over that without the checks of inputs.
        deterministic: the time with deterministic algorithms over that without.
    """

    method: str
    ms: float
    over_unguarded: float
    over_unchecked: float
    deterministic: float


class _Deaf(Silence):
    def step(self, parts: Mapping[str, Tensor]) -> None:
        """Look at nothing."""


class Unguarded(Learner):
    """A student in training that takes every step, whatever its numbers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._silence = _Deaf(nn.Module())

    def _keep_buffers(self) -> None:
        pass

    def _gradient_norm(self) -> Tensor:
        return torch.zeros(())

    def _are_finite(self, values: list[Tensor]) -> bool:
        return True


# What losses, relations and distillers call on their inputs in every step.
CHECKS = ("check_graph", "check_kind", "check_rows", "check_maps", "check_logits", "check_target", "check_type")


def _check_nothing(*_: Any, **__: Any) -> None:
    pass


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave out the checks of inputs."""
    # Modules import the functions by name, so each has a name of its own for them.
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "trg_pyg"]
    places: list[tuple[Any, str]] = [(module, check) for module in modules for check in CHECKS if check in vars(module)]
    places.append((Distiller, "check_batch"))
    saved = [(holder, name, getattr(holder, name)) for holder, name in places]
    try:
        for holder, name in places:
            setattr(holder, name, _check_nothing)
        yield
    finally:
        for holder, name, check in saved:
            setattr(holder, name, check)


def measure(
    methods: tuple[str, ...] = ("KD", "TRG", "HKD"),
    teacher: str = "resnet56",
    student: str = "resnet20",
    batch_size: int = 64,
    steps: int = 40,
    num_classes: int = 100,
    train_images: int = 50_000,
    device: str = "cpu",
    cpu_time: bool = False,
) -> list[Row]:
    """Return milliseconds a step of each method, over the same without the guard and without checks, and with
    deterministic algorithms.

    Args:
        methods: distillers by class name.
        teacher: network of the zoo.
        student: network of the zoo.
        batch_size: images of 32x32 a step.
        steps: counted steps of each, after 5 that are not.
        num_classes: classes.
        train_images: size of the training set, for memory banks.
        device: cpu or cuda.
        cpu_time: count seconds of the processor, not of the clock, on a CPU that has other work too.
    """
    if device == "cuda":
        set_cublas_workspace()
    network, share = teacher_and_share(teacher, batch_size, num_classes, device)
    config = TrainConfig(batch_size=batch_size)
    with ExitStack() as stack:
        works: dict[str, Work] = {}
        for name in methods:
            ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
                "guarded": nullcontext,
                "unguarded": nullcontext,
                "unchecked": unchecked,
                "deterministic": partial(deterministic_algorithms, True, torch.device(device)),
            }
            for way, within in ways.items():
                own = copy.deepcopy(network)
                method = [getattr(trg_pyg.distillers, name)]
                learner = Unguarded if way == "unguarded" else Learner
                work = stepper(student, own, method, share, num_classes, train_images, config, stack, learner)
                works[f"{name} {way}"] = _within(within, work)
        clock = time.process_time if cpu_time else time.perf_counter
        taken = in_turn(works, steps, warm_up=5, device=device, clock=clock)
    return [
        Row(
            name,
            ms(taken[f"{name} guarded"]),
            ratio(taken[f"{name} guarded"], taken[f"{name} unguarded"]),
            ratio(taken[f"{name} guarded"], taken[f"{name} unchecked"]),
            ratio(taken[f"{name} deterministic"], taken[f"{name} guarded"]),
        )
        for name in methods
    ]


def _within(context: Callable[[], AbstractContextManager[Any]], work: Work) -> Work:
    def step() -> None:
        with context():
            work()

    return step


if __name__ == "__main__":
    show(measure)
