"""A folder that cannot be written to."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.faults.fault import IDENTICAL, Bench, Fault, Trial, Watch
from experiments.faults.process import Training, start_anew
from experiments.faults.recipe import arguments
from experiments.faults.standing import run_folders

# Bind the folder to itself in a mount namespace of its own, without write access, and run what follows.
_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


class ReadOnly(Fault):
    """A training that was stopped is resumed in a folder that it cannot write to, and then in one that it can.

    Permissions do not stop root, so root sees the folder through a read-only mount. Where that cannot be made, and in
    every third trial, the output lies below a regular file instead, where nobody can make a folder.
    """

    name = "read-only folder"
    counted = f"{IDENTICAL}; files changed meanwhile; an end otherwise than by one line and exit code 2"
    times = 6

    def trial(self, bench: Bench) -> Trial:
        """Refuse one training."""
        trial = Trial()
        if bench.number % 3 == 2 or not _can_be_protected(bench.folder):
            self._below_a_file(bench, trial)
            return trial
        if not self._stop(bench):
            return trial
        watch, before = Watch(bench, trial), _contents(bench.tree)
        with _protected(bench.tree) as prefix:
            training = start_anew(arguments(bench.recipe, bench.tree), bench.log("refused"), prefix)
            training.wait()
        trial.hit("read-only mount" if prefix else "without permission")
        _expect_refusal(trial, training)
        trial.expect(_contents(bench.tree) == before, "files of the run have changed")
        training = bench.start("resumed")
        trial.expect_end(training)
        watch.look(training.printed())
        watch.finished()
        return trial

    def _below_a_file(self, bench: Bench, trial: Trial) -> None:
        bench.tree.write_text("a file")
        training = bench.begin(arguments(bench.recipe, bench.tree / "below"), bench.log("refused"))
        trial.hit("below a regular file")
        _expect_refusal(trial, training)
        trial.expect(bench.tree.read_text() == "a file", "the file has changed")

    def _stop(self, bench: Bench) -> bool:
        """Stop a training once it has a folder; return whether it is unfinished."""
        training = bench.start("stopped")
        training.wait(until=lambda: bool(run_folders(bench.tree)))
        training.wait(bench.random.uniform(0, bench.reference.seconds / 2))
        training.send(signal.SIGTERM)
        return training.wait() != 0


def _expect_refusal(trial: Trial, training: Training) -> None:
    trial.expect_end(training, code=2)
    printed = training.printed()
    errors = [line for line in printed.splitlines() if line.startswith("run.py: error: ")]
    trial.expect(len(errors) == 1 and "Traceback" not in printed, f"not one line: {printed[-600:]}")


def _contents(tree: Path) -> dict[str, str]:
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _can_be_protected(folder: Path) -> bool:
    if os.geteuid() != 0:
        return True
    return subprocess.run([*_in_namespace(folder), "true"], capture_output=True).returncode == 0


def _in_namespace(folder: Path) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", _READ_ONLY, str(folder)]


@contextmanager
def _protected(tree: Path) -> Iterator[list[str]]:
    """Yield what the command line has to begin with so that its process cannot write to ``tree``."""
    if os.geteuid() == 0:
        yield _in_namespace(tree)
        return
    paths = [tree, *tree.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in reversed(paths):
        path.chmod(modes[path] & ~0o222)
    try:
        yield []
    finally:
        for path in paths:
            path.chmod(modes[path])
