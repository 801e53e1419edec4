"""A disk that is full for a while."""

import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from experiments.faults.fault import IDENTICAL, Bench, Fault, Trial, Watch
from experiments.faults.process import Training

_MIB = 2**20
# Of the small disk; runs take about a tenth of it.
_DISK = 16 * _MIB
# A free part that is smaller than the files of a run, so that some are written half.
_MOST_LEFT = 150_000


class DiskFull(Fault):
    """The disk gets full at a random moment and has space again later; the training may go on or stop, and is resumed.

    Where a small file system can be mounted, which root may do, every other disk is one (tmpfs), filled up by another
    file: writes fail with ENOSPC. Otherwise the system limits how long the files are that the process writes
    (RLIMIT_FSIZE): writes fail with EFBIG.
    """

    name = "disk full"
    counted = f"{IDENTICAL}; an end with a traceback in place of one line"
    times = 16

    def trial(self, bench: Bench) -> Trial:
        """Fill the disk once."""
        trial = Trial()
        bench.tree.mkdir(parents=True)
        with _small_disk(bench) as is_mounted:
            span = bench.reference.seconds
            training = bench.start("full")
            training.wait(bench.random.uniform(0, span))
            left = bench.random.choice((0, bench.random.randrange(_MOST_LEFT)))
            before = Watch(bench, Trial())
            with _filled(bench.tree, left) if is_mounted else _limited(training, left) as took_place:
                training.wait(bench.random.uniform(0.2, 1.0) * span)
                full = took_place()
            code, printed = training.wait(), training.printed()
            failed = "No space left" in printed or "File too large" in printed
            if not (full and failed):
                return trial
            trial.hit(f"{'ENOSPC' if is_mounted else 'EFBIG'}, {'went on' if code == 0 else f'stopped with {code}'}")
            trial.expect("Traceback" not in printed, f"a traceback: {printed[-600:]}")
            watch = Watch(bench, trial)
            trial.lost += _gone(before, watch)
            if code != 0:
                training = bench.start("resumed")
                trial.expect_end(training)
                watch.look(training.printed())
            watch.finished()
        return trial


def _gone(before: Watch, after: Watch) -> list[str]:
    return [
        f"{folder}: stood at {place}, stands at {after.places.get(folder)} after the disk was full"
        for folder, place in before.places.items()
        if folder not in after.places or after.places[folder] < place
    ]


@contextmanager
def _small_disk(bench: Bench) -> Iterator[bool]:
    """Mount one where the runs go, for every other pair of trials, if that can be done; say whether it is there."""
    tree = bench.tree
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "faults", str(tree)]
    if bench.number // 2 % 2 or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(tree)], capture_output=True, check=True)


@contextmanager
def _filled(tree: Path, left: int) -> Iterator[Callable[[], bool]]:
    """Keep the disk of ``tree`` full, with ``left`` bytes free at first; yield what says whether it was."""
    file, ended, was_full = tree / ".filler", threading.Event(), threading.Event()

    def fill() -> None:
        # Without buffers, and again and again, since the training replaces and deletes files.
        with file.open("wb", buffering=0) as filler:
            for size in (_MIB, 4096, 1):
                _write(filler.fileno(), size)
            was_full.set()
            filler.truncate(max(0, filler.tell() - left))
            while not ended.wait(0.2):
                _write(filler.fileno(), 4096)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield was_full.is_set
    finally:
        ended.set()
        thread.join()
        file.unlink()


def _write(descriptor: int, size: int) -> None:
    os.lseek(descriptor, 0, os.SEEK_END)
    with suppress(OSError):
        while os.write(descriptor, bytes(size)) == size:
            pass


@contextmanager
def _limited(training: Training, left: int) -> Iterator[Callable[[], bool]]:
    """Limit the length of the files that a process writes; its output is shorter than that."""
    unlimited = resource.RLIM_INFINITY
    limit = 12_000 + left // 3
    try:
        resource.prlimit(training.pid, resource.RLIMIT_FSIZE, (limit, unlimited))
    except ProcessLookupError:
        yield lambda: False
        return
    try:
        yield lambda: True
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(training.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
