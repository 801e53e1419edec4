"""The runs of a study in their order: which are done, and how long the others may take."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from trg_pyg.config.methods import Method
from trg_pyg.config.schema import NetworkConfig
from trg_pyg.config.variants import WITH_KD, folder_name
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import InputError, count, few, require
from trg_pyg.runs import History
from trg_pyg.study.folder import RunFolder, finished_history, resumable_history
from trg_pyg.study.study import Pair, Study, fingerprint, identity_of
from trg_pyg.training.checkpoint import has_checkpoint
from trg_pyg.training.config import TrainConfig


@dataclass(frozen=True)
class Training:
    """A training that belongs to a study: one network by one method and seed.

    Attributes:
        method: how it is distilled.
        seed: of its initial weights, batches and draws.
        folder: where it keeps everything.
        settings: plain settings that ``trg run --config`` takes to do the same again.
        network: what is trained.
        recipe: how it is trained.
        pair: what the method is told of student and teacher.
        title: its name while it runs, and in wandb.
        notes: what else to write down with the environment.
        tracked: whether wandb is told of it.
        identity: what the result depends on, see :func:`~trg_pyg.study.study.identity_of`.
    """

    method: Method
    seed: int
    folder: Path
    settings: dict[str, Any]
    network: NetworkConfig
    recipe: TrainConfig
    pair: Pair
    title: str
    notes: dict[str, Any] = field(default_factory=dict)
    tracked: bool = True
    identity: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def distiller(self) -> Distiller:
        """The method's, made when it is first asked for, with projections that the seed initialises."""
        torch.manual_seed(self.seed)
        return self.method.build(*self.pair)


def planned(study: Study, method: Method, seed: int) -> Training:
    """Return the training of the student by one method and seed."""
    # Of the settings, those that the method needs: a folder holds runs that differ in the seed only.
    names = ("data", "student", "train") + (("teacher",) if method.needs_teacher else ())
    settings = {name: study.choices.settings[name] for name in names} | {"distiller": method.settings}
    identity = identity_of(settings, study, method.taps, study.pools_of(method))
    name = folder_name(method.name) if method.is_variant else method.name
    return Training(
        method,
        seed,
        folder=study.folder / f"{name}-{fingerprint(identity)}" / f"seed{seed}",
        settings=_named(settings, method) | {"seeds": [seed]},
        identity=identity,
        network=study.config.student,
        recipe=study.config.train,
        pair=study.pairs[method.taps],
        title=f"{method.name} seed {seed}",
    )


def _named(settings: dict[str, Any], method: Method) -> dict[str, Any]:
    """Return the settings as a configuration that gives the method its name again, where that is not its class's."""
    if method.is_variant:
        return {name: value for name, value in settings.items() if name != "distiller"} | {
            "variants": {method.name: method.settings}
        }
    return settings | ({"methods": [method.name]} if method.name.endswith(WITH_KD) else {})


def _objection(begun: Sequence[Training]) -> str:
    """Return why runs that stopped before their end are not trained anew; nothing where there are none."""
    try:
        for run in begun:
            with RunFolder(run.folder).owned():  # one that is under way is another matter
                pass
    except InputError as error:
        return str(error)
    named = few([f"{run.title} in {run.folder}" for run in begun], 2)
    return f"stopped before its end: {named}; --resume goes on with it, --overwrite trains it anew" if begun else ""


class Agenda:
    """What a study has to do, group after group: the runs of a group are trained side by side.

    Times are guesses: from the epochs of the same method, those of earlier starts included, or else from those of all.

    Args:
        groups: of runs, in their order.
        epochs: of each run.
        histories: metrics of the epochs that runs have from an earlier start which is resumed, by folder.
        kept: metrics of runs that were finished before and stay as they are, by folder.

    Attributes:
        kept: the same.
        current: the runs under way; none while the teacher trains.
        filled: whether the teacher's logits of all views were stored already, where that was asked for.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Training]],
        epochs: int,
        histories: dict[Path, History],
        kept: dict[Path, History] | None = None,
    ) -> None:
        self.groups, self.epochs, self.kept = [list(group) for group in groups], epochs, kept or {}
        histories = histories | self.kept
        self._done = {run.folder: len(histories.get(run.folder, ())) for run in self.runs}
        self.current: list[Training] = []
        self.filled = False
        self._costs: dict[str, list[float]] = {}
        for run in self.runs:
            self._learn(run, histories.get(run.folder, ()))

    @classmethod
    def of(cls, study: Study) -> "Agenda":
        """Return the agenda of a study: method after method and seed after seed, or the methods of a seed together.

        Raises:
            InputError: a run stopped before its end, and nobody said whether to go on with it.
        """
        choices = study.choices
        together = [choices.methods] if study.config.share_teacher else [[method] for method in choices.methods]
        groups = [[planned(study, method, seed) for method in group] for group in together for seed in choices.seeds]
        epochs = study.config.train.epochs
        if choices.overwrite:
            return cls(groups, epochs, {})
        histories: dict[Path, History] = {}
        kept: dict[Path, History] = {}
        objection = ""
        if study.world.is_main:  # which alone writes, so it alone knows
            runs = [run for group in groups for run in group]
            kept = {run.folder: done for run in runs if (done := finished_history(run.folder, epochs)) is not None}
            begun = [run for run in runs if run.folder not in kept and has_checkpoint(run.folder / "checkpoint.pt")]
            if choices.resume:
                histories = {run.folder: resumable_history(run.folder) for run in begun}
            else:
                objection = _objection(begun)
        kept, objection = study.world.broadcast_object((kept, objection))
        require(not objection, objection)
        return cls(groups, epochs, histories, kept)

    @property
    def runs(self) -> list[Training]:
        """All runs."""
        return [run for group in self.groups for run in group]

    @property
    def finished(self) -> list[Training]:
        """Those that have all their epochs."""
        return [run for run in self.runs if self._done[run.folder] >= self.epochs]

    @property
    def begun(self) -> list[tuple[Training, int]]:
        """Those that have some of their epochs, and how many."""
        return [(run, done) for run in self.runs if 0 < (done := self._done[run.folder]) < self.epochs]

    def begin(self, group: Sequence[Training]) -> None:
        """Turn to a group."""
        self.current = list(group)

    def finish(self, histories: Sequence[Sequence[dict[str, float]]]) -> None:
        """Enter the metrics of all epochs of the group's runs."""
        for run, history in zip(self.current, histories, strict=True):
            self._done[run.folder] = self.epochs
            self._learn(run, history)
        self.current = []

    def place(self) -> str:
        """Return where the study is, such as ``run 2 of 9``."""
        if not self.current:
            return f"then {count(len(self.runs), 'run')}"
        numbers = [number for number, run in enumerate(self.runs, start=1) if run in self.current]
        which = f"run {numbers[0]}" if len(numbers) == 1 else f"runs {numbers[0]} to {numbers[-1]}"
        return f"{which} of {len(self.runs)}"

    def share_done(self, share: float) -> float:
        """Return the share of all epochs that are done, from 0 to 1.

        Args:
            share: of the current group.
        """
        current = {run.folder for run in self.current}
        done = sum(self._done[run.folder] for run in self.runs if run.folder not in current)
        return (done + share * self.epochs * len(current)) / (self.epochs * len(self.runs))

    def seconds_left(self, current: float | None = None, an_epoch: float | None = None) -> float | None:
        """Return how long what is missing may take; ``None`` where nothing is known yet.

        Args:
            current: seconds that the current runs still take, or a teacher before the first; ``None`` where they have
                not begun.
            an_epoch: seconds that an epoch of each of the current runs takes, where that is known.
        """
        under_way = {run.folder for run in self.current}
        costs = {name: list(of_method) for name, of_method in self._costs.items()}
        if an_epoch is not None:
            for run in self.current:
                costs.setdefault(run.method.name, []).append(an_epoch)
        known = [cost for of_method in costs.values() for cost in of_method]
        left = current or 0.0
        for run in self.runs:
            missing = self.epochs - self._done[run.folder]
            if missing <= 0 or (current is not None and run.folder in under_way):
                continue
            if not known:
                return None
            left += missing * mean(costs.get(run.method.name, known))
        return left

    def _learn(self, run: Training, history: Sequence[dict[str, float]]) -> None:
        seconds = [epoch["seconds"] for epoch in history]
        if seconds:
            self._costs.setdefault(run.method.name, []).append(mean(seconds))
