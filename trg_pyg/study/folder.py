"""What a run leaves behind: configuration, environment, metrics, weights."""

import json
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

import torch
import yaml

from trg_pyg._files import write_text, written
from trg_pyg._program import say
from trg_pyg.errors import InputError, require
from trg_pyg.metrics import score_of
from trg_pyg.runs import read_history
from trg_pyg.training.checkpoint import has_checkpoint, load_checkpoint

_PACKAGES = ("torch", "torchvision", "torch-geometric", "torch-scatter", "einops", "wandb", "timm", "numpy")


_POLL_SECONDS = 2.0


class RunFolder:
    """Folder of one run.

    It holds ``config.yaml`` (``trg run --config`` takes it), ``environment.json``, ``metrics.jsonl`` (one line an
    epoch), ``checkpoint.pt`` and the one before it, ``last.safetensors`` and ``best.safetensors``.

    Args:
        path: the folder; made if need be.

    Raises:
        InputError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with written(path):
            path.mkdir(parents=True, exist_ok=True)
        self.metrics = path / "metrics.jsonl"

    @property
    def has_checkpoint(self) -> bool:
        """Whether a training in this folder can be resumed."""
        return has_checkpoint(self.path / "checkpoint.pt")

    @contextmanager
    def owned(self, wait: bool = False, quiet: bool = False) -> Iterator[None]:
        """Keep other runs out of the folder for a while; the system ends it with the process, however that dies.

        Files that a process which was killed has left half-written are deleted.

        Args:
            wait: for a run that has it, instead of refusing.
            quiet: do not say so.

        Raises:
            InputError: another run has the folder, or it cannot be written to.
        """
        if fcntl is None:
            yield
            return
        with written(self.path / ".lock"):
            lock = (self.path / ".lock").open("a+")
        with lock as file:
            told = False
            while (locked := _lock(file)) is False:
                owner = _owner(file)
                require(
                    wait,
                    f"{self.path}: another run writes there ({owner}); wait until it ends, or choose another output",
                )
                if not told and not quiet:
                    say(f"waiting for another run ({owner}), which writes to {self.path}")
                    told = True
                time.sleep(_POLL_SECONDS)
            with suppress(OSError):  # it only tells others who has the folder
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}")
                file.flush()
            if locked:
                self._delete_half_written()
            yield

    def _delete_half_written(self) -> None:
        for file in self.path.glob(".*.tmp"):
            with suppress(OSError):
                file.unlink()

    def describe(self, settings: dict[str, Any], notes: dict[str, Any]) -> None:
        """Write down the configuration and what it runs on."""
        write_text(self.path / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        write_text(self.path / "environment.json", json.dumps(notes, indent=2) + "\n")

    def write_history(self, history: list[dict[str, float]]) -> None:
        """Write the metrics of all epochs so far."""
        write_text(self.metrics, "".join(json.dumps(epoch) + "\n" for epoch in history))

    def append(self, metrics: dict[str, float]) -> None:
        """Add the metrics of an epoch.

        Raises:
            OSError: the line cannot be written; the lines before it are as they were.
        """
        line = json.dumps(metrics) + "\n"
        size = self.metrics.stat().st_size if self.metrics.exists() else 0
        try:
            with self.metrics.open("a") as file:
                file.write(line)
        except OSError:
            with suppress(OSError):
                os.truncate(self.metrics, size)
            raise


def finished_history(folder: Path, epochs: int) -> list[dict[str, float]] | None:
    """Return the metrics of a run that has all its epochs, an evaluation of the last, and its weights; else ``None``.

    Its checkpoints may have been deleted since. A new start empties ``metrics.jsonl`` first, so that one which was
    broken off is not taken for the run that was there before.
    """
    try:
        history = read_history(folder)
    except InputError:
        return None
    whole = len(history) == epochs and score_of(history).key in history[-1] and (folder / "last.safetensors").is_file()
    return history if whole else None


def resumable_history(folder: Path) -> list[dict[str, float]]:
    """Return the metrics of the epochs that a resumed run goes on from; none where it would start anew.

    The checkpoint knows, not ``metrics.jsonl``: that may lack the last epoch, and is emptied by a new start, which
    leaves the checkpoint until it has one of its own.
    """
    if not has_checkpoint(folder / "checkpoint.pt"):
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself will say that its last checkpoint is damaged
            history = load_checkpoint(folder / "checkpoint.pt").get("history")
    except InputError:
        return []
    return history if isinstance(history, list) else []


def _lock(file: IO[str]) -> bool | None:
    """Return whether this process has the lock now; ``None`` where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network file systems have no locks; a run there is as before, with nobody to keep out.
        warnings.warn(f"{file.name}: {error}; other runs in this folder are not noticed", stacklevel=2)
        return None
    return True


def _owner(file: IO[str]) -> str:
    file.seek(0)
    return file.read() or "which has just started"


def environment(command: str) -> dict[str, Any]:
    """Return what the figures of a run depend on beside its configuration."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": command,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        folder = Path(__file__).parent
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
