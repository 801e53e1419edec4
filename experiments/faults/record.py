"""What has been injected so far, kept so that an interrupted table goes on, and the table."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.faults.fault import Trial
from experiments.faults.process import ROOT
from trg_pyg._program import markdown_table


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        fault: its name.
        injected: faults that took place.
        survived: those of trials in which nothing was lost.
        lost: values and sentences that were lost.
        counted: how.
        where: faults by where they hit.
        examples: the first that were lost.
    """

    fault: str
    injected: int
    survived: int
    lost: int
    counted: str
    where: dict[str, int]
    examples: list[str]


class Record:
    """The trials of one kind of fault, a line each in a file.

    Lines that other sources wrote say nothing of these, so they are not counted.

    Args:
        file: of the lines; made if need be.
        sources: what tells these sources from others, see :func:`sources_hash`.
    """

    def __init__(self, file: Path, sources: str) -> None:
        self._file, self._sources = file, sources
        self.trials: list[Trial] = []
        self.next_number = 0
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                entry = json.loads(line)
            except ValueError:  # cut, by the end of a process that was killed
                continue
            if entry["sources"] == sources:
                self.trials.append(Trial(**entry["trial"]))
                self.next_number = entry["number"] + 1

    @property
    def injected(self) -> int:
        """Faults that took place so far."""
        return sum(trial.injected for trial in self.trials)

    def add(self, number: int, trial: Trial) -> None:
        """Keep a trial, on disk too."""
        self.trials.append(trial)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"sources": self._sources, "number": number, "trial": asdict(trial)})
        with self._file.open("a+") as file:
            file.seek(0)
            cut = not file.read().endswith("\n") and file.tell() > 0
            file.write(("\n" if cut else "") + line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def row(self, fault: str, counted: str) -> Row:
        """Return the line of the table."""
        where: Counter[str] = Counter()
        for trial in self.trials:
            where.update(trial.where)
        lost = [what for trial in self.trials for what in trial.lost]
        survived = sum(trial.injected for trial in self.trials if not trial.lost)
        return Row(fault, self.injected, survived, len(lost), counted, dict(sorted(where.items())), lost[:5])


def sources_hash() -> str:
    """Return a hash of the sources of the library and of the experiments."""
    digest = hashlib.sha256()
    for folder in ("trg_pyg", "experiments"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown, and below it what was lost, if anything was."""
    cells = [["fault", "times injected", "times survived", "data lost", "counted as lost", "where it hit"]]
    cells += [
        [
            *(row.fault, str(row.injected), str(row.survived), str(row.lost), row.counted),
            "; ".join(f"{where}: {count}" for where, count in row.where.items()),
        ]
        for row in rows
    ]
    lines = [markdown_table(cells)]
    lines += [f"\nlost, {row.fault}: {what}" for row in rows for what in row.examples]
    return "\n".join(lines) + "\n"
