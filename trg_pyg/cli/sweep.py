"""Try hyper-parameters on held-out images, from a sweep file of wandb but without an account or a network.

trg sweep experiments/sweeps/trg.yaml --count 20

Each trial is a process of its own, a `trg run`; one that fails is reported, and the sweep goes on. The table at
the end is sorted by the file's metric. --resume goes on where a sweep stopped; --trial N runs a single one, such as a
task of a Slurm array. What trg run takes may follow, such as --device cpu.
"""

import json
import shlex
import signal
import subprocess
import sys
import time
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trg_pyg._files import write_text, written
from trg_pyg._program import program
from trg_pyg.cli._exit import STOPPED, exit_code_of
from trg_pyg.cli._sweep_file import Sweep, read_sweep
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError, near, require
from trg_pyg.report.results import Results
from trg_pyg.study.folder import RunFolder
from trg_pyg.study.progress import duration
from trg_pyg.study.study import fingerprint
from trg_pyg.study.trial import check_trial
from trg_pyg.training.loop import TrainingStopped

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Options of ``trg run`` that the sweep sets itself.
_OWN = ("table", "resume", "config")


@dataclass(frozen=True)
class Trial:
    """A trial.

    Attributes:
        number: from 0.
        values: of the sweep's parameters.
        arguments: of ``trg run``, without those that differ from start to start.
        folder: where its log and its table go.
        same_as: number of an earlier trial with the same values, which is not trained again.
    """

    number: int
    values: dict[str, Any]
    arguments: list[str]
    folder: Path
    same_as: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        arguments: that it was started with.
        exit_code: of ``trg run``.
        seconds: that it took, in the start that ended it.
        metric: of each of its runs; empty where it failed.
        reason: why it failed; empty where it did not.
    """

    arguments: list[str]
    exit_code: int
    seconds: float
    metric: list[float]
    reason: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sweep and return the exit code: 0; 1 where a trial failed; 2 for bad input; 75 where it was stopped."""
    given = sys.argv[1:] if argv is None else list(argv)
    failed = 0

    def work() -> None:
        nonlocal failed
        try:
            own, others = _parser().parse_known_args(given)
        except ArgumentError as error:
            raise InputError(str(error)) from error
        sweep = read_sweep(own.file)
        trials = plan(sweep, own.count, own.seed, others, own.folder)
        if own.trial is not None:
            require(0 <= own.trial < len(trials), f"trial={own.trial}: the sweep has {len(trials)}, numbered from 0")
        chosen = trials if own.trial is None else [trials[own.trial]]
        _check(sweep, chosen)
        if own.trial is None:
            print(_about(sweep, trials), flush=True)
        outcomes = run_trials(sweep, chosen, own.resume, len(trials))
        failed = sum(not outcome.metric for outcome in outcomes.values())
        if own.trial is None:
            report = _report(sweep, trials, outcomes, others)
            write_text(trials[0].folder.parent.parent / "sweep.md", report)
            print(f"\n{report}", end="")

    return exit_code_of(work, "sweep") or int(failed > 0)


def _parser() -> ArgumentParser:
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = ArgumentParser(
        prog=program("sweep"),
        usage=f"{program('sweep')} FILE [--count N] [--seed N] [--folder FOLDER] [--resume] [--trial N] [OPTION ...]",
        description=f"{description} {rest.partition(chr(10) * 2)[2]}",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("file", type=Path, help="sweep file, such as experiments/sweeps/trg.yaml")
    parser.add_argument("--count", type=int, help="trials (default: run_cap of the file, or the whole grid)")
    parser.add_argument("--seed", type=int, default=0, help="of a random search (default: 0)")
    parser.add_argument("--folder", type=Path, help="of the sweep (default: runs/sweeps/<file>-<hash of what it says>)")
    parser.add_argument("--resume", action="store_true", help="keep trials that ended well, go on with the others")
    parser.add_argument("--trial", type=int, help="run this one only, numbered from 0, and print no table")
    return parser


def plan(
    sweep: Sweep, count: int | None, seed: int, others: Sequence[str] = (), folder: Path | None = None
) -> list[Trial]:
    """Return the trials of a sweep.

    Args:
        sweep: what to try.
        count: how many; ``None`` for all that the file asks for.
        seed: of a random search.
        others: arguments of ``trg run`` that follow those of the sweep.
        folder: of the sweep; ``None`` for one that is named after the file and what it says.

    Raises:
        InputError: a number is impossible, or an argument is one that the sweep sets.
    """
    require(count is None or count >= 1, f"count={count}: give 1 or more")
    require(seed >= 0, f"seed={seed}: give 0 or more")
    swept = {parameter.name for parameter in sweep.parameters}
    for argument in others:
        name = argument.lstrip("-").partition("=")[0]
        require(
            not argument.startswith("--") or name not in swept | set(_OWN),
            f"{argument}: the sweep sets {name}; change it in {sweep.file}",
        )
    values = sweep.trials(count, seed)
    common = [*others] if any(each.partition("=")[0] == "--wandb" for each in others) else [*others, "--wandb=offline"]
    if folder is None:
        told = {**asdict(sweep), "file": "", "cap": None, "nested": sorted(sweep.nested), "seed": seed}
        folder = Path("runs") / "sweeps" / f"{sweep.file.stem}-{fingerprint(json.loads(json.dumps(told, default=str)))}"
    trials: list[Trial] = []
    known: dict[str, int] = {}
    for number, each in enumerate(values):
        first = known.setdefault(json.dumps(each, sort_keys=True, default=str), number)
        arguments = [*sweep.arguments(each), *common]
        place = folder / "trials" / f"{number:04d}"
        trials.append(Trial(number, each, arguments, place, None if first == number else first))
    return trials


def _check(sweep: Sweep, trials: Sequence[Trial]) -> None:
    """Refuse what ``trg run`` would refuse, before the first trial is trained."""
    require(
        Path(sweep.program).is_file(),
        f"program={sweep.program}: no such file; start the sweep from the folder above it",
    )
    for trial in trials:
        if trial.same_as is not None:
            continue
        try:
            check_trial(read_choices(trial.arguments))
        except InputError as error:
            raise InputError(f"{sweep.file}: trial {trial.number} ({_values(trial)}): {error}") from error


def run_trials(sweep: Sweep, trials: Sequence[Trial], resume: bool, total: int) -> dict[int, Outcome]:
    """Run trials one after another and return how they ended, by their numbers.

    Args:
        sweep: that they are of.
        trials: to run.
        resume: keep those that ended well before, and go on with the others.
        total: of the sweep.

    Raises:
        TrainingStopped: a signal asked to stop; the trial under way has been saved.
    """
    outcomes: dict[int, Outcome] = {}
    began, trained = time.perf_counter(), 0
    for trial in trials:
        title = f"trial {trial.number} of {total}: {_values(trial)}"
        if trial.same_as is not None and trial.same_as in outcomes:
            outcomes[trial.number] = outcomes[trial.same_as]
            print(f"{title}: as trial {trial.same_as}", flush=True)
            continue
        with RunFolder(trial.folder).owned(wait=resume):
            outcome = _earlier(trial) if resume else None
            before = "" if outcome is None else "before, "
            if outcome is None:
                print(f"{title} ...", flush=True)
                outcome = _run(sweep, trial, resume)
                trained += 1
        outcomes[trial.number] = outcome
        print(f"  {before}{_told(sweep, trial, outcome)}{_so_far(sweep, outcomes)}", end="", flush=True)
        rest = len(trials) - len(outcomes)
        left = (time.perf_counter() - began) / trained * rest if trained and rest else 0
        print(f"; about {duration(left)} left" if left else "", flush=True)
    return outcomes


def _earlier(trial: Trial) -> Outcome | None:
    """Return how the trial ended in an earlier start, where it ended well."""
    try:
        outcome = Outcome(**json.loads((trial.folder / "trial.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    same = _lasting(outcome.arguments) == _lasting(trial.arguments)
    return outcome if outcome.metric and same else None


def _lasting(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without those that change no result."""
    lasting, skip = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if not skip and name not in ("--device", "--wandb"):
            lasting.append(argument)
        skip = name in ("--device", "--wandb") and not equals
    return lasting


def _run(sweep: Sweep, trial: Trial, resume: bool) -> Outcome:
    command = [sys.executable, sweep.program, *trial.arguments, f"--table={trial.folder / 'table.md'}"]
    command += ["--resume"] if resume else []
    file, log = trial.folder / "trial.json", trial.folder / "log.txt"
    file.unlink(missing_ok=True)
    began = time.perf_counter()
    # A session of its own, so that Ctrl-C reaches it once, from here.
    started: list[subprocess.Popen[bytes]] = []
    with written(log), log.open("w") as output, _passed_on(started) as received:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        started.append(process)
        for name in received:  # in the moment before there was a process
            process.send_signal(signal.Signals[name])
        code = process.wait()
    if code == STOPPED or received:
        raise TrainingStopped(
            f"{received[0] if received else 'a signal'} in trial {trial.number}; it is saved, --resume goes on"
        )
    seconds = time.perf_counter() - began
    try:
        require(code == 0, _last_line(log) or f"exit code {code}")
        outcome = Outcome(trial.arguments, code, seconds, _metric(sweep, trial.folder / "table.jsonl"))
    except InputError as error:
        outcome = Outcome(trial.arguments, code, seconds, [], str(error))
    write_text(file, json.dumps(asdict(outcome)) + "\n")
    return outcome


@contextmanager
def _passed_on(started: "list[subprocess.Popen[bytes]]") -> Iterator[list[str]]:
    """Pass signals that ask to stop on to a process, once there is one, and return their names."""
    received: list[str] = []

    def pass_on(number: int, frame: Any) -> None:
        received.append(signal.Signals(number).name)
        for process in started:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _metric(sweep: Sweep, file: Path) -> list[float]:
    """Return the metric after the last epoch of each run of a trial."""
    found = []
    for run in Results.read(file).runs:
        last = run.history[-1]
        known = near(sweep.metric, last, f"; known: {', '.join(last)}")
        require(sweep.metric in last, f"metric {sweep.metric} is not among those of the last epoch{known}")
        found.append(float(last[sweep.metric]))
    return found


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _values(trial: Trial) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in trial.values.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _told(sweep: Sweep, trial: Trial, outcome: Outcome) -> str:
    if not outcome.metric:
        return f"FAILED after {duration(outcome.seconds)}: {outcome.reason}; {trial.folder / 'log.txt'}"
    return f"{sweep.metric} {_cell(outcome)} in {duration(outcome.seconds)}"


def _cell(outcome: Outcome) -> str:
    spread = f" ± {stdev(outcome.metric):.2f}" if len(outcome.metric) > 1 else ""
    return f"{mean(outcome.metric):.2f}{spread}"


def _so_far(sweep: Sweep, outcomes: dict[int, Outcome]) -> str:
    ranked = _ranked(sweep, outcomes)
    return f"; best so far {_cell(outcomes[ranked[0]])}, trial {ranked[0]}" if ranked else ""


def _ranked(sweep: Sweep, outcomes: dict[int, Outcome]) -> list[int]:
    """Return the numbers of the trials that ended well, the best first; of equals the first."""
    sign = -1 if sweep.goal == "maximize" else 1
    good = [number for number, outcome in outcomes.items() if outcome.metric]
    return sorted(good, key=lambda number: (sign * mean(outcomes[number].metric), number))


def _about(sweep: Sweep, trials: Sequence[Trial]) -> str:
    varied = [parameter.name for parameter in sweep.parameters if parameter.varies]
    lines = [
        f"sweep     {sweep.file}: {sweep.method}, {len(trials)} trials of {', '.join(varied) or 'nothing that varies'}",
        f"metric    {sweep.metric} of the last epoch, {sweep.goal}, on images held out of the training set",
        f"output    {trials[0].folder.parent.parent}",
    ]
    return "\n".join(lines)


def _report(sweep: Sweep, trials: Sequence[Trial], outcomes: dict[int, Outcome], others: Sequence[str]) -> str:
    """Return the table of the trials, the best first, failed ones last, and the command that tests the best one."""
    ranked = _ranked(sweep, outcomes)
    varied = [parameter.name for parameter in sweep.parameters if parameter.varies]
    rows = [["trial", sweep.metric, *varied, "time"]]
    for number in [*ranked, *(number for number in outcomes if number not in ranked)]:
        trial, outcome = trials[number], outcomes[number]
        result = _cell(outcome) if outcome.metric else f"failed ({outcome.exit_code})"
        rows.append([str(number), result, *(_short(trial.values[name]) for name in varied), duration(outcome.seconds)])
    lines = [f"{sweep.file}, {sweep.metric} of the last epoch on held-out images, {len(outcomes)} trials", ""]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(3, "|" + "---|" * len(rows[0]))
    failed = [number for number in outcomes if number not in ranked]
    if failed:
        lines += ["", f"{len(failed)} of {len(outcomes)} trials failed:"]
        lines += [
            f"* trial {number}: {outcomes[number].reason}; {trials[number].folder / 'log.txt'}" for number in failed
        ]
    if ranked:
        lines += ["", "The best one, trained on all training images and measured on the test images, three seeds:", ""]
        lines.append(test_command(sweep, trials[ranked[0]], others))
    return "\n".join(lines) + "\n"


def test_command(sweep: Sweep, trial: Trial, others: Sequence[str]) -> str:
    """Return the command that trains a trial's setting on all training images and measures it on the test images."""
    given = [*sweep.arguments(trial.values), *others]
    arguments = [each for each in _lasting(given) if not each.startswith("--data.validation=")]
    seeds = [] if "seeds" in trial.values else ["--seeds", "0", "1", "2"]
    return shlex.join(["python", sweep.program, *arguments, "--data.validation=null", *seeds])
