"""The results of a study as a file, and its table."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trg_pyg._files import replaced_whole
from trg_pyg._program import program
from trg_pyg.errors import InputError
from trg_pyg.metrics import score_of
from trg_pyg.report.table import notes_on, results_table, shown_in_table
from trg_pyg.runs import Run, are_numbers

_OF_A_RUN = ("method", "seed", "distiller", "history")
_SHOWN = 60  # characters of a value that is refused
_MOST = 1e100  # no accuracy or time is that long; beyond it means of figures overflow


@dataclass(frozen=True)
class Results:
    """What a study gave, with all that is needed to do it again.

    Attributes:
        study: data and pair.
        command: what was typed.
        settings: of data, networks and training, as a configuration has them.
        environment: versions and machine of the last start.
        teacher: name, provenance and test metrics; ``None`` without one.
        reference: the method that the others are compared with.
        runs: methods in the order of the table, each with the same seeds in the same order.
    """

    study: str
    command: str
    settings: dict[str, Any]
    environment: dict[str, Any]
    teacher: dict[str, Any] | None
    reference: str | None
    runs: list[Run]

    def report(self) -> str:
        """Return the table under its title, and the command that it comes from."""
        runs: dict[str, list[Run]] = {}
        for run in self.runs:
            runs.setdefault(run.method, []).append(run)
        histories = {method: [run.history for run in of_method] for method, of_method in runs.items()}
        teacher = None if self.teacher is None else (self.teacher["name"], self.teacher["metrics"])
        seeds = ", ".join(str(seed) for seed in dict.fromkeys(run.seed for run in self.runs))
        table = results_table(teacher, histories, self.reference)
        parts = [f"{self.study}, last epoch, seeds {seeds}", table, *notes_on(runs), self.command]
        return "\n\n".join(parts) + "\n"

    def write(self, path: Path) -> None:
        """Write everything but the runs as the first line of a file, and each run as a line: JSON, UTF-8."""
        about = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "runs"}
        runs = [{name: getattr(run, name) for name in _OF_A_RUN} for run in self.runs]
        with replaced_whole(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in (about, *runs)))

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read what :meth:`write` wrote.

        Raises:
            InputError: the file cannot be read, or is another kind of file.
        """
        try:
            about, *runs = (json.loads(line) for line in path.read_text().splitlines())
            results = cls(**about, runs=[Run(**run) for run in runs])
            _check(results)
            return results
        except (OSError, UnicodeDecodeError, TypeError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path} holds no results of {program('run')} ({reason}); name a .jsonl file beside a table"
            ) from error


def _check(results: Results) -> None:
    """Raise ``ValueError`` where a table could not be made: JSON says nothing of what is in it."""
    for name, kind in (("study", str), ("command", str), ("settings", dict), ("environment", dict)):
        _expect(isinstance(getattr(results, name), kind), name, getattr(results, name))
    teacher = results.teacher
    if teacher is not None:
        _expect(isinstance(teacher, dict) and teacher.keys() >= {"name", "metrics"}, "teacher", teacher)
        _expect(isinstance(teacher["name"], str), "name of the teacher", teacher["name"])
        _expect(are_metrics(teacher["metrics"]), "metrics of the teacher", teacher["metrics"])
    for run in results.runs:
        _expect(isinstance(run.method, str), "method", run.method)
        _expect(type(run.seed) is int, f"seed of {run.method}", run.seed)
        _expect(isinstance(run.distiller, dict), f"distiller of {run.method}", run.distiller)
        sound = isinstance(run.history, list) and len(run.history) > 0 and all(map(are_metrics, run.history))
        _expect(sound, f"history of {run.method}, seed {run.seed}", run.history)
        _expect(
            score_of(run.history).key in run.history[-1],
            f"last epoch of {run.method}, seed {run.seed}",
            run.history[-1],
        )
    methods = {run.method for run in results.runs}
    reference = results.reference
    _expect(reference is None or (isinstance(reference, str) and reference in methods), "reference", reference)


def _expect(condition: bool, place: str, value: Any) -> None:
    if not condition:
        shown = repr(value)
        raise ValueError(f"{place}: {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'} is not what it writes")


def are_metrics(metrics: Any) -> bool:
    """Return whether a value that was read is what is kept of an epoch: numbers by name, fit for a table."""
    return are_numbers(metrics) and all(abs(value) < _MOST for name, value in metrics.items() if shown_in_table(name))
