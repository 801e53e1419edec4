"""Trainings as processes of their own, which can be killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
# A training takes seconds; one that takes so long hangs, on however busy a machine.
LIMIT_SECONDS = 900.0
_POLL_SECONDS = 0.002


class _Process(Protocol):
    @property
    def pid(self) -> int | None: ...


class Training:
    """A process that trains.

    Args:
        process: it, running.
        exit_code: asks for its exit code, negative for the signal that ended it; None as long as it runs.
        log: file of what it prints.
    """

    def __init__(self, process: _Process, exit_code: Callable[[], int | None], log: Path) -> None:
        assert process.pid is not None
        self.pid, self._process, self._exit_code, self.log = process.pid, process, exit_code, log
        self._started = time.monotonic()

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for the signal that ended it; None as long as it runs."""
        return self._exit_code()

    @property
    def seconds(self) -> float:
        """Age of the process."""
        return time.monotonic() - self._started

    def printed(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait(self, seconds: float | None = None, until: Callable[[], bool] = lambda: False) -> int | None:
        """Wait until it ends, for so long, or until something else is the case; return the exit code, if it has ended.

        Args:
            seconds: to wait; None stands for the end.
            until: looked at every few milliseconds.

        Raises:
            TimeoutError: it does not end.
        """
        deadline = time.monotonic() + (LIMIT_SECONDS if seconds is None else seconds)
        while self.exit_code is None and not until():
            if time.monotonic() >= deadline:
                if seconds is not None:
                    return None
                self.send(signal.SIGKILL)
                raise TimeoutError(f"a training did not end within {LIMIT_SECONDS:g} s; it printed {self.log}")
            time.sleep(_POLL_SECONDS)
        return self.exit_code

    def send(self, number: int) -> bool:
        """Send a signal; return whether the process was still there."""
        if self.exit_code is not None:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def listens(self, number: int) -> bool:
        """Whether the process has a handler for a signal now (Linux)."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return False
        caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> (number - 1) & 1)


def start(arguments: Sequence[str], log: Path) -> Training:
    """Start ``experiments/run.py`` in a process that is forked from one that has done the imports, which take seconds.

    All else is as in a process that was started anew; killing it is the same to the system.
    """
    process = _forks().Process(target=_run, args=(list(arguments), str(log)))
    process.start()
    return Training(process, lambda: process.exitcode, log)


def start_anew(arguments: Sequence[str], log: Path, before: Sequence[str] = ()) -> Training:
    """Start ``python experiments/run.py``.

    Args:
        arguments: of it.
        log: file of what it prints.
        before: what the command line begins with.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*before, sys.executable, str(ROOT / "experiments" / "run.py"), *arguments],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return Training(process, process.poll, log)


@cache
def _forks() -> Any:
    # One thread, so that results are bit-identical, and since other threads do not survive a fork.
    os.environ["OMP_NUM_THREADS"] = "1"
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    # Processes that are killed do not give back the lock of their progress bar, of which Python would tell at the end.
    ignored = [os.environ.get("PYTHONWARNINGS", ""), "ignore:resource_tracker"]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, ignored))
    context = multiprocessing.get_context("forkserver")
    # What a training imports; data sets of scikit-learn are imported when they are read.
    context.set_forkserver_preload(["trg_pyg.cli.run", "sklearn.datasets"])
    return context


def _run(arguments: list[str], log: str) -> None:
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    sys.argv[:] = [str(ROOT / "experiments" / "run.py"), *arguments]
    from trg_pyg.cli.run import main

    try:
        code = main(arguments)
    except KeyboardInterrupt:
        # As Python does at the end of a program.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.stdout.flush()
    sys.exit(code)
