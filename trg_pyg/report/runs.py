"""Runs to report on, from their folders and from results files."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError, few, require
from trg_pyg.report.results import Results, Run, are_metrics
from trg_pyg.report.table import History

_PARTS = ("data", "student", "train")
_NOT_RUNS = ("teachers", "wandb")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One training as its files tell of it.

    Attributes:
        method: name of its row.
        seed: of the training.
        distiller: class path and options of the method.
        settings: of data, student and training, and of the teacher where the run has one.
        history: the metrics of every epoch, those of an unfinished run so far.
        command: what was typed.
        environment: versions and machine.
        teacher: provenance of the teacher, see :class:`~trg_pyg.study.teacher.Teacher`; ``None`` without one.
        source: the folder or file that all this is from.
        folder: of the run; ``None`` where only a results file is there.
        facts: of its data, where the folder has them.
    """

    method: str
    seed: int
    distiller: dict[str, Any]
    settings: dict[str, Any]
    history: History
    command: str
    environment: dict[str, Any]
    teacher: dict[str, Any] | None
    source: Path
    folder: Path | None = None
    facts: DataFacts | None = None

    @property
    def title(self) -> str:
        """Method and seed."""
        return f"{self.method} seed {self.seed}"

    @property
    def epochs(self) -> int:
        """Epochs that its configuration asks for."""
        return self.settings["train"]["epochs"]

    @property
    def done(self) -> int:
        """Epochs that it has."""
        return int(self.history[-1].get("epoch", len(self.history))) if self.history else 0

    @property
    def finished(self) -> bool:
        """Whether it has all epochs, and an evaluation of the last."""
        return self.done >= self.epochs and "test/top1" in self.history[-1]


@dataclass(frozen=True)
class Found:
    """What there is to report on.

    Attributes:
        runs: in the order of the table.
        references: the method that the results files compare with, by file.
        teachers: what results files say of teachers, name, provenance and metrics, those beside run folders included.
        notes: what was passed over, and why.
    """

    runs: list[RunRecord]
    references: dict[Path, str | None] = field(default_factory=dict)
    teachers: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_runs(paths: Sequence[Path]) -> Found:
    """Find the runs in folders of any height and in results files.

    In a folder that holds runs their results files are read for the teacher's metrics only, since the runs' own files
    say more; a folder without runs gives the runs of the results files in it.

    Raises:
        InputError: a path is not there or holds no run, a file is damaged.
    """
    folders, files = _sources(paths)
    found = Found(sorted((read_folder(folder) for folder in folders), key=_order))
    for file in files:
        results = Results.read(file)
        found.references[file] = results.reference
        found.runs.extend(_from_results(results, run, file) for run in results.runs)
        if results.teacher is not None:
            found.teachers.append(results.teacher)
    _read_tables_beside(folders, found)
    require(len(found.runs) > 0, f"{few([str(path) for path in paths])}: no runs in it; name the folders of some")
    return found


def _sources(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders of runs and the results files that are meant, each once."""
    folders: list[Path] = []
    files: list[Path] = []
    for path in paths:
        require(path.exists(), f"{path}: no such folder or file; name folders of runs, or .jsonl files beside a table")
        inside = run_folders(path) if path.is_dir() else []
        within = [path] if path.is_file() else []
        if not inside and not within:
            within = [file for file in sorted(path.rglob("*.jsonl")) if _is_results(file)]
            require(
                len(within) > 0,
                f"{path} holds no run, which is a folder with config.yaml and metrics.jsonl, and no results; "
                "name a folder such as runs/Digits/resnet20-resnet8",
            )
        folders += inside
        files += within
    # One folder may be given by two names, or lie in another.
    return list({folder.resolve(): folder for folder in folders}.values()), list(
        {file.resolve(): file for file in files}.values()
    )


def run_folders(path: Path) -> list[Path]:
    """Return the folders of runs in a folder, itself included; teachers only where it is one, or that of all."""
    if (path / "config.yaml").is_file() and (path / "metrics.jsonl").is_file():
        return [path]
    return [
        file.parent
        for file in sorted(path.rglob("metrics.jsonl"))
        if (file.parent / "config.yaml").is_file() and not set(_NOT_RUNS) & set(file.relative_to(path).parts)
    ]


def read_folder(folder: Path) -> RunRecord:
    """Read the files of a run, without what its configuration names.

    Raises:
        InputError: a file is damaged.
    """
    config = _read(folder / "config.yaml", yaml.safe_load)
    environment = _read(folder / "environment.json", json.loads)
    history = _read(folder / "metrics.jsonl", lambda text: [json.loads(line) for line in text.splitlines()])
    try:
        method, distiller = _method(config)
        settings = {name: config[name] for name in _PARTS}
        (seed,) = config["seeds"]
        sound = type(seed) is int and type(settings["train"]["epochs"]) is int and isinstance(distiller, dict)
        if not (sound and isinstance(environment, dict) and all(map(are_metrics, history))):
            raise ValueError("a value of another kind")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: config.yaml, environment.json or metrics.jsonl is none of a run ({error}); leave the folder out"
        ) from error
    if "teacher" in config:
        settings["teacher"] = config["teacher"]
    return RunRecord(
        method=method,
        seed=seed,
        distiller=distiller,
        settings=settings,
        history=history,
        command=str(environment.pop("command", "")),
        teacher=environment.pop("teacher", None),
        environment=environment,
        source=folder,
        folder=folder,
        facts=DataFacts.read(folder),
    )


def _read(file: Path, parse: Any) -> Any:
    try:
        return parse(file.read_text())
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read ({reason}); leave its folder out, or run it again") from error


def _method(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and distiller, as :func:`trg_pyg.study.distil._named` wrote them."""
    variants = config.get("variants")
    if variants:
        ((name, distiller),) = variants.items()
        return str(name), distiller
    distiller = config["distiller"]
    given = config.get("methods")
    return (str(given[0]) if given else distiller["class_path"].rpartition(".")[2]), distiller


def _order(run: RunRecord) -> tuple[int, str, int]:
    first = {"Vanilla": 0, "KD": 1}
    return first.get(run.method, 2), run.method, run.seed


def _from_results(results: Results, run: Run, file: Path) -> RunRecord:
    train = results.settings.get("train")
    sound = all(isinstance(results.settings.get(name), dict) for name in (*_PARTS, "teacher"))
    require(
        sound and isinstance(train, dict) and type(train.get("epochs")) is int,
        f"{file}: its settings lack data, student, teacher or train, so it is not known what was compared; "
        "leave the file out, or make it again with {program('run')} --resume",
    )
    settings = {name: results.settings[name] for name in _PARTS}
    if results.teacher is not None:
        settings["teacher"] = results.settings["teacher"]
    return RunRecord(
        method=run.method,
        seed=run.seed,
        distiller=run.distiller,
        settings=settings,
        history=run.history,
        command=results.command,
        environment=results.environment,
        teacher=results.teacher,
        source=file,
    )


def _is_results(file: Path) -> bool:
    if file.name == "metrics.jsonl":
        return False
    try:
        Results.read(file)
    except InputError:
        return False
    return True


def _read_tables_beside(folders: Iterable[Path], found: Found) -> None:
    """Look for the teachers' metrics in the folders of the pairs, as ``trg run`` leaves them there."""
    for pair in dict.fromkeys(folder.parent.parent for folder in folders):
        for file in sorted(pair.glob("*.jsonl")):
            try:
                teacher = Results.read(file).teacher
            except InputError as error:
                found.notes.append(f"Passed over, so the teacher's row may have less: {error}")
                continue
            if teacher is not None:
                found.teachers.append(teacher)
