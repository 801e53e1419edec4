"""What a kind of fault is: a file in ``experiments/faults/kinds`` with a class below :class:`Fault` is one more."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from experiments.faults.process import Training, start
from experiments.faults.recipe import RECIPES, arguments
from experiments.faults.reference import Reference
from experiments.faults.standing import differences, done_again, standing, steps_back


@dataclass
class Trial:
    """One training, or a few that belong together, and the faults that were injected in it.

    Attributes:
        injected: faults that took place.
        lost: what was lost, a sentence each; where it is empty, all faults were survived.
        where: how many faults by where they hit.
    """

    injected: int = 0
    lost: list[str] = field(default_factory=list)
    where: dict[str, int] = field(default_factory=dict)

    def hit(self, where: str) -> None:
        """Count a fault that took place."""
        self.injected += 1
        self.where[where] = self.where.get(where, 0) + 1

    def expect(self, condition: bool, otherwise: str) -> None:
        """Count something as lost unless a condition holds."""
        if not condition:
            self.lost.append(otherwise)

    def expect_end(self, training: Training, code: int = 0) -> None:
        """Wait until a training ends, and count it as lost where it ends otherwise."""
        found = training.wait()
        self.expect(found == code, f"exit code {found}, not {code}: {training.printed()[-300:]}")


@dataclass(frozen=True)
class Bench:
    """What a trial works with.

    Attributes:
        folder: an empty one, for this trial.
        number: of the trial of this fault, from 0.
        random: a generator of its own.
        references: gives the undisturbed run of a recipe.
    """

    folder: Path
    number: int
    random: random.Random
    references: Callable[[str], Reference]
    begin: Callable[[Sequence[str], Path], Training] = start

    def start(self, log: object, *more: str, resume: bool = True) -> Training:
        """Start the training of this trial in its folder.

        Args:
            log: name of a file for what it prints.
            *more: arguments of ``run.py`` beside those of the recipe.
            resume: go on with what is there.
        """
        return self.begin([*arguments(self.recipe, self.tree, resume), *more], self.log(log))

    @property
    def recipe(self) -> str:
        """The recipe of this trial; they take turns."""
        return RECIPES[self.number % len(RECIPES)]

    @property
    def reference(self) -> Reference:
        """The undisturbed run of this trial's recipe."""
        return self.references(self.recipe)

    @property
    def tree(self) -> Path:
        """Folder of the runs."""
        return self.folder / "runs"

    def moment(self, seconds: float, fruitless: int = 0) -> float:
        """Return a random moment in the life of a process, in seconds from its start.

        Args:
            seconds: that an undisturbed one lives.
            fruitless: processes before it, in a row, that got nowhere: the machine may have become slower since the
                undisturbed run was timed, so each lets the next one live a quarter longer.
        """
        return self.random.uniform(0, seconds * 1.25**fruitless)

    def log(self, name: object) -> Path:
        """Return a file for what a process prints."""
        return self.folder / f"{name}.log"


class Fault(ABC):
    """A kind of fault.

    Attributes:
        name: on the command line and in the table.
        counted: how lost data are counted.
        times: faults to inject where nothing else is asked for.
    """

    name: ClassVar[str]
    counted: ClassVar[str]
    times: ClassVar[int] = 10

    @abstractmethod
    def trial(self, bench: Bench) -> Trial:
        """Train once, with faults, and say what was lost; a trial in which none took place is made again."""


# Of most kinds.
IDENTICAL = (
    "values that differ in any bit from an undisturbed run (weights, optimiser, memory banks, random streams, loader, "
    "metrics), damaged checkpoints, epochs done twice or gone"
)


class Watch:
    """Looks at a folder of runs between one process and the next: nothing that was there may go.

    Args:
        bench: of the trial.
        trial: told of what was lost.

    Attributes:
        places: where the trainings stand.
        fruitless: processes, in a row up to now, after which they stood where they did before.
    """

    def __init__(self, bench: Bench, trial: Trial) -> None:
        self._bench, self._trial = bench, trial
        self.places, _ = standing(bench.tree)
        self.fruitless = 0

    def look(self, printed: str) -> None:
        """Look, after a process that has printed this."""
        after, wrong = standing(self._bench.tree)
        self._trial.lost += wrong + steps_back(self.places, after) + done_again(printed, self.places)
        self.fruitless = self.fruitless + 1 if after == self.places else 0
        self.places = after

    def finished(self) -> None:
        """Compare the finished runs with the undisturbed ones."""
        self._trial.lost += differences(self._bench.reference.tree, self._bench.tree)
