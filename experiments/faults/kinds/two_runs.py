"""A second run in the folder of one that is at work."""

import signal
from pathlib import Path

from experiments.faults.fault import IDENTICAL, Bench, Fault, Trial, Watch
from experiments.faults.process import Training
from experiments.faults.standing import is_teacher


class TwoRuns(Fault):
    """A run is begun a second time while its student trains, with and without resuming.

    The first process is halted meanwhile (SIGSTOP), so that it cannot end before the second one gets to the folder, and
    so that the folder is seen as it is at any moment. The second has to be refused, the first goes on and finishes.
    """

    name = "two runs in a folder"
    counted = f"{IDENTICAL}; the second not refused with exit code 2"
    times = 10

    def trial(self, bench: Bench) -> Trial:
        """Begin twice."""
        trial = Trial()
        first = bench.start("first", resume=False)
        first.wait(until=lambda: _owns_student(first, bench.tree))
        first.wait(bench.random.uniform(0, bench.reference.seconds / 2))
        first.send(signal.SIGSTOP)
        if not _owns_student(first, bench.tree) or first.exit_code is not None:
            first.send(signal.SIGCONT)
            first.wait()
            return trial
        watch = Watch(bench, trial)
        resume = bench.random.random() < 0.5
        try:
            second = bench.start("second", resume=resume)
            code = second.wait()
        finally:
            first.send(signal.SIGCONT)
        trial.hit("second resumes" if resume else "second starts over")
        refused = code == 2 and f"another run writes there (process {first.pid} " in second.printed()
        trial.expect(refused, f"the second ended with exit code {code}: {second.printed()[-300:]}")
        trial.expect_end(first)
        watch.look("")
        watch.finished()
        return trial


def _owns_student(training: Training, tree: Path) -> bool:
    locks = [lock for lock in tree.rglob(".lock") if not is_teacher(lock.relative_to(tree))]
    return any(f"process {training.pid} " in lock.read_text() for lock in locks)
