"""Undisturbed runs, which the others are compared with."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.faults.process import Training, start, start_anew
from experiments.faults.recipe import arguments
from experiments.faults.standing import differences
from trg_pyg._files import write_text


@dataclass(frozen=True)
class Reference:
    """An undisturbed run.

    Attributes:
        tree: folder of its runs.
        seconds: that it takes in a forked process.
        seconds_anew: that it takes in a process that was started anew, imports included.
    """

    tree: Path
    seconds: float
    seconds_anew: float


def reference(recipe: str, folder: Path) -> Reference:
    """Return the undisturbed run of a recipe, made here unless an earlier call has done so.

    It is run twice, in a process that is started anew and in a forked one.

    Raises:
        RuntimeError: it fails, or the two differ, so that nothing can be compared with them.
    """
    known = folder / "reference.json"
    if not known.exists():
        taken = {}
        for name, begin in (("seconds_anew", start_anew), ("seconds", start)):
            taken[name] = _run(begin, recipe, folder / name)
        differing = differences(folder / "seconds_anew" / "runs", folder / "seconds" / "runs")
        if differing:
            raise RuntimeError(f"{recipe}: two undisturbed runs differ, so nothing can be compared: {differing[:3]}")
        made = Reference(folder / "seconds_anew" / "runs", **taken)
        write_text(known, json.dumps(asdict(made) | {"tree": str(made.tree.relative_to(folder))}) + "\n")
    values = json.loads(known.read_text())
    return Reference(**values | {"tree": folder / values["tree"]})


def _run(begin: Callable[[list[str], Path], Training], recipe: str, folder: Path) -> float:
    training = begin(arguments(recipe, folder / "runs", resume=False), folder / "printed.log")
    code = training.wait()
    if code != 0:
        raise RuntimeError(f"{recipe}: an undisturbed run ended with exit code {code}: {training.printed()[-2000:]}")
    return training.seconds
