"""List the runs of folders: data, pair, method, what tells them apart, epochs, accuracy."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from trg_pyg._program import markdown_table, program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.errors import InputError, few, require
from trg_pyg.runs import Run, data_name, data_shown, differing, flatten, is_teacher, run_folders, shown, telling

_COMMAND = "runs"
_DESCRIPTION = """\
List runs, a row each, those of trained teachers last. Data are named with the folder that they lay in and the beginning
of a hash of what they held, which is the same wherever they lie. "differs" has what tells a run from the others of its
data and student: the seed, options of its method where rows of one name differ, and settings by the names of their
options. top-1 is the last accuracy that was measured, in percent, of the test images, or of those held out (data
...-val).

Runs under way or half-written are listed too; a folder that cannot be read is named in a line below the table."""
_MOST = 4  # differences of a row
# They have columns of their own.
_TOLD = (
    "data.class_path",
    "data.digest",
    "data.init_args.imbalance",
    "data.init_args.validation",
    "student.name",
    "teacher.name",
)


def main(argv: Sequence[str] | None = None) -> int:
    """List the runs of a command line and return the exit code: 0, or 2 where there is none."""
    return exit_code_of(lambda: print(listing(_parser().parse_args(argv).folders)), _COMMAND)


def _parser() -> ArgumentParser:
    parser = CommandParser(
        prog=program(_COMMAND), description=_DESCRIPTION, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders",
        metavar="FOLDER",
        nargs="*",
        type=Path,
        default=[Path("runs")],
        help="folders to look in, at any depth (default: runs)",
    )
    return parser


def listing(folders: Sequence[Path]) -> str:
    """Return a table of the runs in folders, and a line for each that cannot be read.

    Raises:
        InputError: a folder is not there, or there is no run in any.
    """
    students, teachers, damaged = _read(folders)
    require(
        bool(students or teachers or damaged),
        f"{few([str(folder) for folder in folders])}: no runs in it; name a folder that {program('run')} wrote to",
    )
    rows = [["data", "networks", "method", "differs", "epochs", "top-1", "state", "folder"]]
    for runs, role in ((students, ""), (teachers, "teacher")):
        told = _differences(runs)
        rows += [_row(run, role or run.method, few(told[id(run)], _MOST)) for run in runs]
    return "\n\n".join(part for part in (markdown_table(rows) if len(rows) > 1 else "", "\n".join(damaged)) if part)


def _read(folders: Sequence[Path]) -> tuple[list[Run], list[Run], list[str]]:
    """Return the runs of students, those of teachers, and why others cannot be read."""
    found: dict[Path, tuple[Path, bool]] = {}  # each once, though folders may lie in one another
    for path in folders:
        require(path.is_dir(), f"{path}: no such folder; name one that {program('run')} wrote to")
        for folder in run_folders(path):
            found.setdefault(folder.resolve(), (folder, is_teacher(folder, path)))
    runs: tuple[list[Run], list[Run]] = [], []
    damaged = []
    for folder, of_teacher in found.values():
        try:
            runs[of_teacher].append(Run.read(folder))
        except InputError as error:
            damaged.append(f"{folder} is passed over: {error}")
    return *runs, damaged


def _row(run: Run, method: str, differences: str) -> list[str]:
    networks = [run.settings[role]["name"] for role in ("teacher", "student") if role in run.settings]
    state = "finished" if run.finished else "unfinished" if run.history else "no epoch yet"
    accuracy = "" if run.score is None else f"{run.score:.2f}"
    epochs = f"{run.done} of {run.epochs}"
    return [data_shown(run.settings), "-".join(networks), method, differences, epochs, accuracy, state, str(run.folder)]


def _differences(runs: Sequence[Run]) -> dict[int, list[str]]:
    """Return what tells each run, by its ``id``, from the others of its data and student, in words."""
    words: dict[int, list[str]] = {}
    for near in _groups(runs, lambda run: (*_data(run), run.settings["student"]["name"])):
        settings = {id(run): telling(run.settings) for run in near}
        taught = [settings[id(run)] for run in near if "teacher" in run.settings]
        # A run without a teacher has no settings of one: that is no difference.
        of_teacher = {key for key in differing(taught) if key.startswith("teacher.")}
        keys = [
            key for key in differing(list(settings.values())) if not key.startswith("teacher.") or key in of_teacher
        ]
        seeds = len({run.seed for run in near}) > 1
        for named in _groups(near, lambda run: run.method):
            options = {id(run): flatten(run.distiller.get("init_args") or {}) for run in named}
            other = differing(list(options.values()))
            for run in named:
                own = settings[id(run)]
                told = [
                    key for key in keys if key not in _TOLD and (key not in of_teacher or "teacher" in run.settings)
                ]
                words[id(run)] = [f"{key}={shown(options[id(run)].get(key))}" for key in other]
                words[id(run)] += [f"{_option(key)}={shown(own.get(key))}" for key in told]
                words[id(run)] += [f"seed {run.seed}"] if seeds else []
    return words


def _data(run: Run) -> tuple[str, str | None]:
    return data_name(run.settings), run.settings["data"].get("digest")


def _groups(runs: Sequence[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _option(key: str) -> str:
    """Return the name of a setting as ``trg run`` takes it."""
    return key.replace("data.init_args.", "data.")
