"""Signals that ask a training to stop, at random moments."""

import re
import signal

from experiments.faults.fault import IDENTICAL, Bench, Fault, Trial, Watch
from experiments.faults.standing import Place
from trg_pyg.cli._exit import STOPPED

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_STOPPED = re.compile(r"after (?:step (\d+) of \d+ of )?epoch (\d+) of \d+; everything is saved, resume to go on")


class Signals(Fault):
    """A training is sent SIGTERM, SIGINT or SIGUSR1 at random moments, and resumed each time until it is finished.

    While it trains it has to end with exit code 75, in the place that it names. Before and after that nothing is to be
    saved, and the signal ends it as it ends any program.
    """

    name = "SIGTERM, SIGINT, SIGUSR1"
    counted = f"{IDENTICAL}; another exit code than 75 in a training; another place than the one it names"
    times = 24

    def trial(self, bench: Bench) -> Trial:
        """Stop a training until it finishes."""
        trial = Trial()
        watch = Watch(bench, trial)
        for life in range(1000):
            training = bench.start(life)
            training.wait(bench.moment(bench.reference.seconds, watch.fruitless))
            number = bench.random.choice(_SIGNALS)
            # All three are listened to at the same time; Python itself listens to SIGINT always.
            listening = training.listens(signal.SIGUSR1)
            sent = training.send(number)
            code = training.wait()
            watch.look(training.printed())
            if sent and code == STOPPED:
                trial.hit(f"{number.name} in a training")
                _check_place(trial, training.printed(), watch.places)
            elif sent and code == -number:
                trial.hit(f"{number.name} before or after a training")
                trial.expect(not listening, f"{number.name} ended a training with exit code {code}")
            else:
                trial.expect_end(training)
                break
        watch.finished()
        return trial


def _check_place(trial: Trial, printed: str, places: dict) -> None:
    said = _STOPPED.search(printed)
    if said is None:
        trial.lost.append(f"exit code {STOPPED} without the place: {printed[-300:]}")
        return
    step, epoch = said.groups()
    named = Place(int(epoch), 0) if step is None else Place(int(epoch) - 1, int(step))
    trial.expect(named in places.values(), f"it says that it stopped at {named}, checkpoints are at {places}")
