"""Inject real faults in real trainings and print what was lost: ``python experiments/faults/run.py --help``."""

import json
import pkgutil
import random
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from importlib import import_module
from pathlib import Path

import torch

from experiments.faults import kinds
from experiments.faults.fault import Bench, Fault, Trial
from experiments.faults.record import Record, Row, sources_hash, table
from experiments.faults.reference import Reference, reference
from experiments.faults.soak import soak
from trg_pyg._discover import subclasses
from trg_pyg._files import write_text
from trg_pyg.cli._exit import exit_code_of
from trg_pyg.errors import near, require
from trg_pyg.study.folder import RunFolder

# Trials in a row without a fault that took place.
_PATIENCE = 30


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and return the exit code: 0 if nothing was lost, 1 if anything was, 2 for a mistake in the input.

    It goes on where an earlier call with the same output stopped, as long as the sources are the same.
    """
    faults = known_faults()
    given = _parser(faults).parse_args(argv)
    lost = False

    def work() -> None:
        nonlocal lost
        torch.set_num_threads(1)
        if given.soak is not None:
            require(given.soak > 0, f"--soak {given.soak}: give minutes above 0")
            print(report := soak(given.soak, given.output))
            lost = not report.is_flat
            return
        require(given.times is None or given.times >= 1, f"--times {given.times}: give 1 or more")
        chosen = choose(given.names, faults)
        with RunFolder(given.output).owned():
            rows = inject(chosen, given.output, given.times, given.seed)
        lost = any(row.lost or row.survived < row.injected for row in rows)

    return exit_code_of(work, "faults/run.py") or int(lost)


def known_faults() -> dict[str, type[Fault]]:
    """Return the kinds of faults by name: every class below :class:`Fault` in the files of ``kinds``."""
    for module in pkgutil.iter_modules(kinds.__path__):
        import_module(f"{kinds.__name__}.{module.name}")
    found: list[type[Fault]] = [cls for cls in subclasses(Fault) if cls.__module__.startswith(f"{kinds.__name__}.")]
    return {cls.name: cls for cls in found}


def choose(names: Sequence[str], faults: dict[str, type[Fault]]) -> list[type[Fault]]:
    """Return the named kinds, all where none is named.

    Raises:
        InputError: there is no kind of that name.
    """
    for name in names:
        require(name in faults, f"fault {name!r} is not known{near(name, faults)}")
    return [faults[name] for name in names] or list(faults.values())


def inject(faults: Sequence[type[Fault]], output: Path, times: int | None, seed: int) -> list[Row]:
    """Inject faults of each kind until there are enough, print and write the table, and return its lines.

    Args:
        faults: the kinds.
        output: folder of ``table.md``, ``table.jsonl``, a record of each kind, undisturbed runs, and what was lost.
        times: faults of each kind; None takes each kind's own number.
        seed: of all moments and kinds of damage.
    """
    sources = sources_hash()
    work = output / "work"
    _clear(work)

    @cache
    def references(recipe: str) -> Reference:
        return reference(recipe, output / "undisturbed" / sources / recipe)

    rows = []
    for fault in faults:
        record = Record(output / f"{_file_name(fault.name)}.jsonl", sources)
        _inject(fault(), record, times or fault.times, work, references, seed)
        rows.append(record.row(fault.name, fault.counted))
        write_text(output / "table.md", table(rows))
        write_text(output / "table.jsonl", "".join(json.dumps(asdict(row)) + "\n" for row in rows))
    print(f"\n{table(rows)}")
    return rows


def _inject(
    fault: Fault, record: Record, times: int, work: Path, references: Callable[[str], Reference], seed: int
) -> None:
    without = 0
    while record.injected < times:
        number = record.next_number
        work.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{_file_name(fault.name)}-{number}-", dir=work))
        draws = random.Random(f"{seed} {fault.name} {number}")
        trial = fault.trial(Bench(folder, number, draws, references))
        record.next_number += 1
        without = 0 if trial.injected or trial.lost else without + 1
        if without >= _PATIENCE:
            raise RuntimeError(f"{fault.name}: no fault took place in {without} trials in a row")
        if trial.injected or trial.lost:
            record.add(number, trial)
        _put_away(folder, trial)
        said = "; ".join(trial.lost[:2]) or "nothing lost"
        print(f"{fault.name}: {record.injected} of {times}, {said}", flush=True)


def _clear(work: Path) -> None:
    """Delete what a call that was interrupted has left; a small disk of it may still be mounted."""
    for folder in work.glob("*/*"):
        if folder.is_mount():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    if work.exists():
        shutil.rmtree(work)


def _put_away(folder: Path, trial: Trial) -> None:
    """Delete the folder of a trial; one in which something was lost is kept to be looked at."""
    if trial.lost:
        kept = folder.parent.parent / "lost"
        kept.mkdir(exist_ok=True)
        folder.rename(kept / folder.name)
    else:
        shutil.rmtree(folder)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _parser(faults: dict[str, type[Fault]]) -> ArgumentParser:
    parser = ArgumentParser(
        prog="faults/run.py",
        description="Inject real faults in real trainings and print how many were survived and what was lost. Exit "
        "code 1 if anything was. An interrupted call goes on where it stopped.",
        epilog=f"faults: {', '.join(faults)}",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to inject (default: all)")
    parser.add_argument("--times", type=int, help="faults of each kind (default: each kind's own number)")
    parser.add_argument("--output", type=Path, default=Path("runs/faults"), help="folder (default: runs/faults)")
    parser.add_argument("--seed", type=int, default=0, help="of all moments and kinds of damage (default: 0)")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="train for so long and watch memory instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
