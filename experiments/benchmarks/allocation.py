"""What it would gain to keep the memory of freed tensors on a CPU, where the C library, glibc, gives it back.

    python experiments/benchmarks/allocation.py --methods "[KD,TRG]" --json runs/allocation.json

Two processes take the same training step in turn; one of them has told glibc to keep what is freed for what comes next.
A step frees its activations and takes as many again, and pages that were given back are filled with zeros anew.
"""

import ctypes
import multiprocessing
import os
import platform
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

import trg_pyg.distillers
from experiments.benchmarks._measure import in_turn, ms, ratio, show
from experiments.benchmarks.step import stepper, teacher_and_share
from trg_pyg.errors import InputError
from trg_pyg.training.config import TrainConfig

_CLASSES, _IMAGES = 100, 10_000
# Parameters of mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST = 32 * 2**20  # that glibc takes for the last of them


@dataclass(frozen=True)
class Row:
    """A method's step.

    Attributes:
        method: class name.
        ms: median milliseconds a step, memory kept.
        kept_over_given_back: its time over that of a process whose C library does as it does by itself.
        system_share: of the kept one's time, spent in the system.
        system_share_given_back: of the other's.
        resident_mib: memory of the process that keeps it, at the end.
        resident_mib_given_back: of the other.
    """

    method: str
    ms: float
    kept_over_given_back: float
    system_share: float
    system_share_given_back: float
    resident_mib: float
    resident_mib_given_back: float


def measure(
    methods: tuple[str, ...] = ("KD", "TRG"),
    teacher: str = "resnet56",
    student: str = "resnet20",
    batch_size: int = 64,
    steps: int = 20,
    compiled: bool = False,
    device: str = "cpu",
) -> list[Row]:
    """Return milliseconds a step of each method, memory kept over given back.

    Args:
        methods: distillers by class name.
        teacher: network of the zoo.
        student: network of the zoo.
        batch_size: images of 32x32 a step.
        steps: counted steps of each, after 5 that are not.
        compiled: compile the networks.
        device: cpu.

    Raises:
        InputError: another device.
    """
    if device != "cpu":
        raise InputError(f"device {device}: memory of a CPU is measured")
    rows = []
    for method in methods:
        options = (method, teacher, student, batch_size, compiled, torch.get_num_threads())
        kept, other = _Process(True, *options), _Process(False, *options)
        taken = in_turn({"kept": kept.step, "other": other.step}, steps, warm_up=5)
        (own, resident), (of_other, resident_other) = kept.end(), other.end()
        times = ms(taken["kept"]), ratio(taken["kept"], taken["other"])
        rows.append(Row(method, *times, own, of_other, resident, resident_other))
    return rows


class _Process:
    def __init__(self, *options: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *options), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def step(self) -> None:
        self._connection.send(True)
        self._connection.recv()

    def end(self) -> tuple[float, float]:
        """Return the share of its steps that was spent in the system, and its resident memory in MiB."""
        self._connection.send(False)
        share, resident = self._connection.recv()
        self._process.join()
        return share, resident


def _work(
    connection: Connection,
    keep: bool,
    method: str,
    teacher: str,
    student: str,
    batch_size: int,
    compiled: bool,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    if keep and not keep_freed_memory():
        raise InputError("the C library is not glibc: there is nothing to measure")
    network, share = teacher_and_share(teacher, batch_size, _CLASSES, "cpu")
    config = TrainConfig(batch_size=batch_size, compile=compiled)
    with ExitStack() as stack:
        cls = getattr(trg_pyg.distillers, method)
        step = stepper(student, network, [cls], share, _CLASSES, _IMAGES, config, stack)
        step()
        connection.send(True)
        started = _seconds()
        while connection.recv():
            step()
            connection.send(True)
        own, system = (now - then for now, then in zip(_seconds(), started, strict=True))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    connection.send((system / (own + system), pages * 4096 / 2**20))


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, and return whether it does; other C libraries are left alone."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The trim threshold is an int in bytes: what is free at the end of the heap stays, whatever it is.
    settings = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 8 * _LARGEST))
    done = [mallopt(name, value) for name, value in settings]
    return all(done)


def _seconds() -> tuple[float, float]:
    now = os.times()
    return now.user, now.system


if __name__ == "__main__":
    show(measure)
