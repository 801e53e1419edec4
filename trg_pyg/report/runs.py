"""Runs to report on, from their folders and from results files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trg_pyg._program import program
from trg_pyg.errors import InputError, few, require
from trg_pyg.report.results import Results, are_metrics
from trg_pyg.runs import Run, is_teacher, run_folders

_PARTS = ("data", "student", "train")


@dataclass(frozen=True)
class Found:
    """What there is to report on.

    Attributes:
        runs: in the order of the table.
        references: the method that the results files compare with, by file.
        teachers: what results files say of teachers, name, provenance and metrics, those beside run folders included.
        notes: what was passed over, and why.
    """

    runs: list[Run]
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
    found = Found(sorted((_read(folder) for folder in folders), key=_order))
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
        inside = _begun(path) if path.is_dir() else []
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


def _begun(path: Path) -> list[Path]:
    """Return the folders of runs in a folder; those of teachers only where it is one, or that of all."""
    return [each for each in run_folders(path) if (each / "metrics.jsonl").is_file() and not is_teacher(each, path)]


def _read(folder: Path) -> Run:
    run = Run.read(folder)
    require(
        all(map(are_metrics, run.history)),
        f"{folder / 'metrics.jsonl'} is none of a run (a value of another kind); leave its folder out",
    )
    return run


def _order(run: Run) -> tuple[int, str, int]:
    first = {"Vanilla": 0, "KD": 1}
    return first.get(run.method, 2), run.method, run.seed


def _from_results(results: Results, run: Run, file: Path) -> Run:
    train = results.settings.get("train")
    sound = all(isinstance(results.settings.get(name), dict) for name in (*_PARTS, "teacher"))
    require(
        sound and isinstance(train, dict) and type(train.get("epochs")) is int,
        f"{file}: its settings lack data, student, teacher or train, so it is not known what was compared; "
        f"leave the file out, or make it again with {program('run')} --resume",
    )
    settings = {name: results.settings[name] for name in _PARTS}
    if results.teacher is not None:
        settings["teacher"] = results.settings["teacher"]
    return replace(
        run,
        settings=settings,
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
