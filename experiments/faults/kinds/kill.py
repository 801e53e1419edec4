"""SIGKILL at random moments."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments.faults.fault import IDENTICAL, Bench, Fault, Trial, Watch
from experiments.faults.process import start_anew
from experiments.faults.recipe import EPOCHS
from experiments.faults.standing import is_teacher, run_folders, standing

# How long an aimed kill waits for a file to be written.
_AIM_SECONDS = 30.0


class Kill(Fault):
    """A training is killed, resumed, killed again, and so on until it is finished.

    Moments are uniform over the time that an undisturbed run takes, from the start of the process on. Of every eight
    trainings the first two begin in a process that is started anew, all other processes are forked. Of every four kills
    one is aimed: from its moment on, the next file that is being written is waited for.
    """

    name = "kill -9"
    counted = IDENTICAL
    times = 56

    def trial(self, bench: Bench) -> Trial:
        """Kill a training until it finishes."""
        trial = Trial()
        watch = Watch(bench, trial)
        for life in range(1000):
            anew = life == 0 and bench.number % 8 < 2
            half_before = half_written(bench.tree)
            training = (replace(bench, begin=start_anew) if anew else bench).start(life)
            span = bench.reference.seconds_anew if anew else bench.reference.seconds
            training.wait(bench.moment(span, watch.fruitless))
            if bench.random.random() < 0.25:
                training.wait(_AIM_SECONDS, until=partial(_is_writing, bench.tree, half_before))
            training.send(signal.SIGKILL)
            code = training.wait()
            where = _where(bench.tree, training.pid, half_before)
            watch.look(training.printed())
            if code == -signal.SIGKILL:
                trial.hit(where)
                continue
            trial.expect_end(training)
            break
        watch.finished()
        trial.lost += [f"{file} was left half-written" for file in half_written(bench.tree)]
        return trial


def half_written(tree: Path) -> set[Path]:
    """Return the files of runs below ``tree`` that are being written, or were when their process was killed."""
    try:
        return {path for folder in run_folders(tree) for path in (tree / folder).glob(".*.tmp")}
    except OSError:  # gone while looked at
        return set()


def _is_writing(tree: Path, half_before: set[Path]) -> bool:
    return bool(half_written(tree) - half_before)


def _where(tree: Path, pid: int, half_before: set[Path]) -> str:
    """Return what a process was doing when it was killed, by the files that it has left."""
    if _is_writing(tree, half_before):
        return "while a file was written"
    owned = {is_teacher(lock.parent.relative_to(tree)) for lock in tree.rglob(".lock") if f"{pid} " in lock.read_text()}
    if not owned:
        return "start-up"
    if owned == {True}:
        return "teacher's training"
    done = [place.epochs for folder, place in standing(tree)[0].items() if not is_teacher(folder)]
    return "after the last epoch" if done == [EPOCHS] else "student's training"
