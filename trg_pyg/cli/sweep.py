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
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trg_pyg._files import check_writable, write_text, written
from trg_pyg._program import markdown_table, program
from trg_pyg.cli._exit import STOPPED, CommandParser, exit_code_of
from trg_pyg.cli._sweep_file import INSTALLED, Drawn, Sweep, read_sweep
from trg_pyg.cli.run import check_trial
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError, count, near, require
from trg_pyg.report.results import Results
from trg_pyg.study.folder import RunFolder
from trg_pyg.study.progress import duration
from trg_pyg.training.loop import TrainingStopped

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Options of ``trg run`` that the sweep sets itself.
_OWN = {"table", "resume", "config"}


@dataclass(frozen=True)
class Outcome:
    """How a trial stands; kept in its folder, as ``trial.json``.

    Attributes:
        sweep: what tells its sweep from others.
        drawn: what its values follow from.
        arguments: of ``trg run``, without those that differ from start to start.
        exit_code: of ``trg run``; ``None`` where it has not ended by itself.
        seconds: that it took, in the start that ended it.
        metric: of each of its runs; empty where it failed.
        reason: why it failed; empty where it did not.
    """

    sweep: str
    drawn: Drawn
    arguments: list[str]
    exit_code: int | None = None
    seconds: float = 0.0
    metric: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def cell(self) -> str:
        """The metric, with its standard deviation where there are several runs."""
        if not self.metric:
            return f"failed ({self.exit_code})"
        spread = f" ± {stdev(self.metric):.2f}" if len(self.metric) > 1 else ""
        return f"{mean(self.metric):.2f}{spread}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sweep and return the exit code: 0; 1 where a trial failed; 2 for bad input; 75 where it was stopped."""
    given = sys.argv[1:] if argv is None else list(argv)
    failed = False

    def work() -> None:
        nonlocal failed
        own, others = _parser().parse_known_args(given)
        search = Search(read_sweep(own.file), own, others)
        search.check()
        if own.trial is None:
            print(search.about(), flush=True)
        search.run()
        failed = not all(outcome.metric for outcome in search.outcomes.values())
        if own.trial is None:
            report = search.report()
            write_text(search.folder / "sweep.md", report)
            print(f"\n{report}", end="")

    return exit_code_of(work, "sweep") or int(failed)


def _parser() -> ArgumentParser:
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = CommandParser(
        prog=program("sweep"),
        usage=f"{program('sweep')} FILE [--count N] [--seed N] [--folder FOLDER] [--resume] [--trial N] [OPTION ...]",
        description=f"{description} {rest.partition(chr(10) * 2)[2]}",
    )
    parser.add_argument("file", type=Path, help="sweep file, such as experiments/sweeps/trg.yaml")
    parser.add_argument("--count", type=int, help="trials (default: run_cap of the file, or the whole grid)")
    parser.add_argument("--seed", type=int, default=0, help="of a search, random or bayes (default: 0)")
    parser.add_argument("--folder", type=Path, help="of the sweep (default: runs/sweeps/<file>-<hash of what it says>)")
    parser.add_argument("--resume", action="store_true", help="keep trials that ended well, go on with the others")
    parser.add_argument("--trial", type=int, help="run this one only, numbered from 0, and print no table")
    return parser


class Search:
    """The trials of a sweep.

    Args:
        sweep: what to try.
        own: options of the command.
        others: arguments of ``trg run`` that follow those of the sweep.

    Attributes:
        folder: of the sweep.
        outcomes: of the trials so far, by their numbers.

    Raises:
        InputError: a number is impossible, or an argument is one that the sweep sets.
    """

    def __init__(self, sweep: Sweep, own: Namespace, others: Sequence[str]) -> None:
        require(own.count is None or own.count >= 1, f"count={own.count}: give 1 or more")
        require(own.seed >= 0, f"seed={own.seed}: give 0 or more")
        swept = {parameter.name for parameter in sweep.parameters}
        for argument in others:
            name = argument.lstrip("-").partition("=")[0]
            taken = argument.startswith("--") and name in swept | _OWN
            require(not taken, f"{argument}: the sweep sets {name}; change it in {sweep.file}")
        self._sweep, self._seed, self._resume, self._others = sweep, own.seed, own.resume, others
        self._mark = sweep.mark(own.seed)
        self._numbers = range(sweep.count(own.count))
        self._total = len(self._numbers)
        if own.trial is not None:
            chosen = f"trial={own.trial}: "
            require(sweep.method != "bayes", f"{chosen}bayes draws a trial by those before it; leave --trial out")
            require(own.trial in self._numbers, f"{chosen}the sweep has {self._total}, numbered from 0")
            self._numbers = range(own.trial, own.trial + 1)
        self.folder: Path = own.folder or Path("runs") / "sweeps" / f"{sweep.file.stem}-{self._mark}"
        check_writable(self.folder, "--folder")
        self.outcomes: dict[int, Outcome] = {}

    def check(self) -> None:
        """Refuse what ``trg run`` would refuse, before the first trial is trained; bayes knows that one only."""
        script = self._sweep.start[0]
        there = self._sweep.start == INSTALLED or Path(script).is_file()
        require(there, f"program={script}: no such file; start the sweep from the folder above it")
        read = set()
        for number in self._numbers[:1] if self._sweep.method == "bayes" else self._numbers:
            trial = self._trial(number)
            if tuple(trial.arguments) in read:
                continue
            read.add(tuple(trial.arguments))
            try:
                check_trial(read_choices(trial.arguments))
            except InputError as error:
                values = _in_words(self._sweep.values(trial.drawn))
                raise InputError(f"{self._sweep.file}: trial {number} ({values}): {error}") from error

    def about(self) -> str:
        """Return what is to be done."""
        sweep, varied = self._sweep, ", ".join(self._sweep.varied) or "nothing that varies"
        return (
            f"sweep     {sweep.file}: {sweep.method}, {count(self._total, 'trial')} of {varied}\n"
            f"metric    {sweep.metric} of the last epoch, {sweep.goal}, on images held out of the training set\n"
            f"output    {self.folder}"
        )

    def run(self) -> None:
        """Run the trials one after another.

        Raises:
            TrainingStopped: a signal asked to stop; the trial under way has been saved.
        """
        began, trained = time.perf_counter(), 0
        known: dict[tuple[str, ...], int] = {}
        for number in self._numbers:
            trial = self._trial(number)
            title = f"trial {number} of {self._total}: {_in_words(self._sweep.values(trial.drawn))}"
            first = known.setdefault(tuple(trial.arguments), number)
            if first != number:
                self.outcomes[number] = self.outcomes[first]
                print(f"{title}: as trial {first}", flush=True)
                continue
            with RunFolder(self._place(number)).owned(wait=self._resume):
                kept = self._kept(number)
                if kept is not None and kept.metric and _lasting(kept.arguments) == _lasting(trial.arguments):
                    outcome, before = replace(kept, drawn=trial.drawn), "before, "
                else:
                    print(f"{title} ...", flush=True)
                    outcome, before = self._train(number, trial), ""
                    trained += 1
            self.outcomes[number] = outcome
            print(f"  {before}{self._told(number)}", end="", flush=True)
            rest = len(self._numbers) - len(self.outcomes)
            left = (time.perf_counter() - began) / trained * rest if trained and rest else 0
            print(f"; about {duration(left)} left" if left else "", flush=True)

    def report(self) -> str:
        """Return the table of the trials, the best first, failed ones last, and the command that tests the best one."""
        sweep, ranked = self._sweep, self._ranked()
        failed = [number for number in self.outcomes if number not in ranked]
        rows = [["trial", sweep.metric, *sweep.varied, "time"]]
        for number in [*ranked, *failed]:
            outcome = self.outcomes[number]
            values = sweep.values(outcome.drawn)
            cells = [_short(values[name]) for name in sweep.varied]
            rows.append([str(number), outcome.cell, *cells, duration(outcome.seconds)])
        total = len(self.outcomes)
        lines = [f"{sweep.file}, {sweep.metric} of the last epoch on held-out images, {count(total, 'trial')}", ""]
        lines.append(markdown_table(rows))
        if failed:
            lines += ["", f"{len(failed)} of {count(total, 'trial')} failed:"]
            lines += [f"* trial {number}: {self.outcomes[number].reason}; {self._log(number)}" for number in failed]
        if ranked:
            lines += ["", "The best one, trained on all training images and measured on the test images, three seeds:"]
            lines += ["", self._test(sweep.values(self.outcomes[ranked[0]].drawn))]
        return "\n".join(lines) + "\n"

    def _test(self, values: dict[str, Any]) -> str:
        """Return the command that trains with some values on all training images and measures on the test images."""
        given = _lasting([*self._sweep.arguments(values), *self._others])
        arguments = [each for each in given if not each.startswith("--data.validation=")]
        seeds = [] if "seeds" in values else ["--seeds", "0", "1", "2"]
        start = INSTALLED if self._sweep.start == INSTALLED else ("python", *self._sweep.start)
        return shlex.join([*start, *arguments, "--data.validation=null", *seeds])

    def _trial(self, number: int) -> Outcome:
        """Return a trial that has not been run; one of bayes that was begun before stays what it was."""
        kept = self._kept(number)
        if self._sweep.method == "bayes" and kept is not None and kept.sweep == self._mark:
            again = self._drawn(kept.drawn)
            if _lasting(again.arguments) == _lasting(kept.arguments):
                return again
        told = [(outcome.drawn, mean(outcome.metric)) for outcome in self.outcomes.values() if outcome.metric]
        return self._drawn(self._sweep.draw(number, self._seed, told))

    def _drawn(self, drawn: Drawn) -> Outcome:
        # The last one counts: no account is needed.
        named = any(each.partition("=")[0] == "--wandb" for each in self._others)
        arguments = [*self._sweep.arguments(self._sweep.values(drawn)), *self._others]
        return Outcome(self._mark, drawn, arguments if named else [*arguments, "--wandb=offline"])

    def _kept(self, number: int) -> Outcome | None:
        """Return how a trial stood in an earlier start, where that is gone on with."""
        try:
            return Outcome(**json.loads((self._place(number) / "trial.json").read_text())) if self._resume else None
        except (OSError, ValueError, TypeError):
            return None

    def _place(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def _log(self, number: int) -> Path:
        return self._place(number) / "log.txt"

    def _train(self, number: int, trial: Outcome) -> Outcome:
        file, table, log = (self._place(number) / name for name in ("trial.json", "table.md", "log.txt"))
        start = ("-m", "trg_pyg", "run") if self._sweep.start == INSTALLED else self._sweep.start
        command = [sys.executable, *start, *trial.arguments, f"--table={table}"]
        command += ["--resume"] if self._resume else []
        write_text(file, json.dumps(asdict(trial)) + "\n")
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
            signalled = received[0] if received else "a signal"
            raise TrainingStopped(f"{signalled} in trial {number}; it is saved, --resume goes on")
        trial = replace(trial, exit_code=code, seconds=time.perf_counter() - began)
        try:
            require(code == 0, _last_line(log) or f"exit code {code}")
            trial = replace(trial, metric=_metric(self._sweep.metric, table.with_suffix(".jsonl")))
        except InputError as error:
            trial = replace(trial, reason=str(error))
        write_text(file, json.dumps(asdict(trial)) + "\n")
        return trial

    def _told(self, number: int) -> str:
        outcome, ranked = self.outcomes[number], self._ranked()
        taken = duration(outcome.seconds)
        told = f"{self._sweep.metric} {outcome.cell} in {taken}"
        if not outcome.metric:
            told = f"FAILED after {taken}: {outcome.reason}; {self._log(number)}"
        return f"{told}; best so far {self.outcomes[ranked[0]].cell}, trial {ranked[0]}" if ranked else told

    def _ranked(self) -> list[int]:
        """Return the numbers of the trials that ended well, the best first; of equals the first."""
        sign = -1 if self._sweep.goal == "maximize" else 1
        good = {number: sign * mean(each.metric) for number, each in self.outcomes.items() if each.metric}
        return sorted(good, key=lambda number: (good[number], number))


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


def _lasting(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without those that change no result."""
    lasting, skip = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if not skip and name not in ("--device", "--wandb"):
            lasting.append(argument)
        skip = name in ("--device", "--wandb") and not equals
    return lasting


def _metric(name: str, file: Path) -> list[float]:
    """Return a metric after the last epoch of each run of a trial."""
    found = []
    for run in Results.read(file).runs:
        last = run.history[-1]
        known = near(name, last, f"; known: {', '.join(last)}")
        require(name in last, f"metric {name} is not among those of the last epoch{known}")
        found.append(float(last[name]))
    return found


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _in_words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
