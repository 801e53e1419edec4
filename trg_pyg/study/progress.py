"""What is seen while a training runs."""

import sys
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tqdm import tqdm

from trg_pyg._program import say
from trg_pyg.metrics import is_loss_part, metrics_of, score_of
from trg_pyg.study.agenda import Agenda
from trg_pyg.training.loop import Progress


class Bars:
    """The lines at the bottom of a terminal, for students that are trained on the same batches.

    The first has the epoch, a bar, time passed and left, and images per second; then one for each student has its
    accuracy and the parts of its loss; the last has a bar for the whole study. What does not fit in the terminal's
    width is cut off. Lines that are printed and warnings go above them.

    Args:
        title: of the group.
        epochs: of the training.
        batch_size: images a step.
        agenda: of the study; ``None`` where there is none.
        clock: seconds.
    """

    # Reading the meter waits for the device, so it is read at the rate of an eye, not of the steps.
    _SECONDS = 0.5

    def __init__(
        self,
        title: str,
        epochs: int,
        batch_size: int,
        agenda: Agenda | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._title, self._epochs, self._batch_size, self._clock = title, epochs, batch_size, clock
        # Of a study of one run there is nothing more to say.
        self._agenda = agenda if agenda is not None and len(agenda.runs) > 1 else None
        self._lines: list[Any] = []
        self._students: list[Display] = []
        self._places: dict[int, int] = {}
        self._began, self._shown = clock(), 0.0
        # Steps and seconds: after the first step of this start, which may have been compiled for minutes; and from
        # where the rate of images is counted.
        self._first: tuple[int, float] | None = None
        self._mark = (0, 0.0)
        self._rate = 0.0
        self._warn = warnings.showwarning

    def add(self, student: "Display") -> None:
        """Give a student a line."""
        self._students.append(student)

    def step(self, student: "Display", progress: Progress) -> None:
        """Move on by a step of one of the students; at times, look at all of them."""
        now = self._clock()
        self._places[id(student)] = (progress.epoch - 1) * progress.steps + progress.step
        done = min(self._places.values())
        if self._first is None:
            self._first = self._mark = (done, now)
            self._open()
        if progress.step == 1:  # between two epochs there was an evaluation, which is not training
            self._mark = (done, now)
        if student is not self._students[-1] and len(self._students) == len(self._places):
            return
        last = progress.step == progress.steps
        if now - self._shown >= self._SECONDS or last:
            if done > self._mark[0]:
                self._rate = (done - self._mark[0]) * self._batch_size / (now - self._mark[1])
                self._mark = (done, now)
            self._shown = now
            self._show(done, progress, now)

    def close(self) -> None:
        """Remove the lines."""
        if self._lines:
            warnings.showwarning = self._warn
        for line in reversed(self._lines):
            line.close()
        self._lines = []

    def _open(self) -> None:
        count = 1 + len(self._students) + (self._agenda is not None)
        self._lines = [tqdm(total=1, leave=False, dynamic_ncols=True, bar_format="{bar:b}") for _ in range(count)]
        self._warn = warnings.showwarning
        warnings.showwarning = _warn_above

    def _a_step(self, done: int, now: float) -> float | None:
        """Return the seconds of a step, evaluations included; ``None`` after the first."""
        assert self._first is not None
        first, since = self._first
        return (now - since) / (done - first) if done > first else None

    def _show(self, done: int, progress: Progress, now: float) -> None:
        total = self._epochs * progress.steps
        a_step = self._a_step(done, now)
        left = None if a_step is None else (total - done) * a_step
        head = f"{self._title}  epoch {progress.epoch}/{self._epochs}"
        tail = duration(now - self._began) + ("" if left is None else f", {duration(left)} left")
        rate = f"  {self._rate:,.0f} {self._students[0].item}s/s" if self._rate else ""
        self._draw(0, f"{head} ", f" {done / total:4.0%}  {tail}{rate}", done / total)
        for number, student in enumerate(self._students, start=1):
            label = f"{student.title}: " if len(self._students) > 1 else ""
            self._draw(number, f"  {label}{student.standing()}", None)
        if self._agenda is not None:
            share = self._agenda.share_done(done / total)
            an_epoch = None if a_step is None else a_step * progress.steps / len(self._students)
            whole = None if left is None else self._agenda.seconds_left(left, an_epoch)
            rest = "" if whole is None else f"  about {duration(whole)} left"
            self._draw(-1, f"study: {self._agenda.place()} ", f" {share:4.0%}{rest}", share)

    def _draw(self, number: int, left: str, right: str | None, share: float = 0.0) -> None:
        line = self._lines[number]
        left = left.replace("{", "{{").replace("}", "}}")
        # tqdm cuts a line off at the terminal's width where it has a bar; b is one of blanks.
        line.bar_format = left + ("{bar:b}" if right is None else "|{bar}|" + right)
        line.n = share
        line.refresh()


class Lines(Bars):
    """A line a minute for each student, where the output is no terminal but a file; an epoch ends with one anyway."""

    _SECONDS = 60.0

    def _open(self) -> None:
        self._shown = self._clock()

    def _show(self, done: int, progress: Progress, now: float) -> None:
        a_step = self._a_step(done, now)
        if progress.step == progress.steps or a_step is None:
            return
        left = duration((self._epochs * progress.steps - done) * a_step)
        for student in self._students:
            say(
                f"{student.title}  epoch {progress.epoch}/{self._epochs}  step {progress.step}/{progress.steps}  "
                f"{student.standing()}  {self._rate:,.0f} {student.item}s/s  {left} left"
            )


class Display:
    """What is shown of one run: its line among those at the bottom of a terminal, and a line for each epoch.

    Args:
        title: name of the run.
        epochs: of the training.
        bars: lines that it has with others; ``None`` where nothing is to be seen within an epoch.
        quiet: no line an epoch.
        evaluated: what accuracies are measured on.
        item: what one of the things is called that are trained on.
        last: metrics of the epoch that a resumed training goes on from.
    """

    def __init__(
        self,
        title: str,
        epochs: int,
        bars: Bars | None,
        quiet: bool,
        evaluated: str = "test",
        item: str = "image",
        last: dict[str, float] | None = None,
    ) -> None:
        self.item = item
        self.title, self._epochs, self._bars, self._quiet, self._evaluated = title, epochs, bars, quiet, evaluated
        self._known = dict(last or {})
        self._progress: Progress | None = None
        if bars is not None:
            bars.add(self)

    def step(self, progress: Progress) -> None:
        """Move the bar by one step."""
        if self._bars is not None:
            self._progress = progress
            self._bars.step(self, progress)

    def standing(self) -> str:
        """Return accuracy so far and the parts of the loss in the epoch under way."""
        pieces, score = [], score_of([self._known])
        if score.key in self._known:
            best = self._known.get(f"best/{score.name}")
            said = "" if best is None else f"  best {best:.2f} {score.unit}"
            pieces.append(f"{self._evaluated} {self._known[score.key]:.2f} {score.unit}{said}")
        if self._progress is not None:
            means = self._progress.meter.means()
            pieces += [f"train {means[score.name]:.1f} {score.unit}"] if score.name in means else []
            parts = {name: value for name, value in means.items() if name != score.name}
            if len(parts) == 2:
                parts.pop("total", None)  # the sum of one part says nothing new, unless that has a weight
            pieces.append(" ".join(f"{name} {value:.3g}" for name, value in parts.items()))
        return "  ".join(pieces)

    def epoch(self, metrics: dict[str, float]) -> None:
        """Print the line of an epoch."""
        self._known |= metrics
        if self._quiet:
            return
        parts = " ".join(
            f"{name.removeprefix('train/')} {value:.4g}" for name, value in metrics.items() if is_loss_part(name)
        )
        shots = [metric for metric in metrics_of("shots") if metric.key in metrics]
        groups = " ".join(f"{metric.title} {metrics[metric.key]:.1f}" for metric in shots)
        score = score_of([metrics])
        test = f"  {self._evaluated} {metrics[score.key]:.2f} {score.unit}" if score.key in metrics else ""
        trained = metrics.get(score.of("train").key)
        train = "" if trained is None else f"  train {trained:.2f} {score.unit}"
        line = (
            f"{self.title}  epoch {int(metrics['epoch'])}/{self._epochs}{test}"
            f"{'  ' + groups if groups else ''}{train}  {parts}"
            f"  {metrics['images_per_second']:.0f} {self.item}s/s"
        )
        say(line)


def filling(quiet: bool) -> Callable[[int, int], None]:
    """Return what shows how far a teacher store is filled, told of images done and of how many; a line a minute in a
    file."""
    bar = tqdm(unit=" images", desc="teacher store", disable=quiet, mininterval=0.5 if sys.stderr.isatty() else 60.0)

    def told(done: int, images: int) -> None:
        bar.total = images
        bar.update(done - bar.n)
        if done == images:
            bar.close()

    return told


def make_bars(title: str, epochs: int, batch_size: int, agenda: Agenda | None, quiet: bool) -> Bars | None:
    """Return what is seen within an epoch: lines at the bottom of a terminal, else one a minute; nothing if quiet."""
    if quiet:
        return None
    return (Bars if sys.stderr.isatty() else Lines)(title, epochs, batch_size, agenda)


def _warn_above(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    say(warnings.formatwarning(message, category, filename, lineno, line).rstrip(), error=True)


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds, as ``1:02:03`` or ``2:03``; days where there are any."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if text.startswith("0:") else text
