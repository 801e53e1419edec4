"""Numbers that are not finite, of one image of a step."""

import random
from pathlib import Path

import torch
from torch import Tensor

from experiments.faults.fault import Bench, Fault, Trial
from experiments.faults.process import Training
from experiments.faults.recipe import EPOCHS, arguments
from experiments.faults.standing import is_teacher, run_folders, unequal
from trg_pyg.cli._exit import STOPPED
from trg_pyg.training.checkpoint import load_checkpoint

# A training skips no more than ten steps by default.
_MOST = 6
# Of a state, what a step changes by being taken; the schedule, the loader and the random streams go on without it.
_CHANGED_BY_A_STEP = ("student", "distiller", "scaler")


class NotFinite(Fault):
    """An image's outputs, or the gradient of its logits alone, are NaN in some steps; the recipe skips such steps.

    A training that is stopped after a spoiled step has to have the weights, running statistics, momenta and memory
    banks of one that is stopped before it. One that goes on has to finish with finite weights and to have skipped the
    spoiled steps and no others.
    """

    name = "NaN in an image"
    counted = "values that a spoiled step has changed, values that are not finite at the end, steps wrongly skipped"
    times = 24

    def trial(self, bench: Bench) -> Trial:
        """Spoil one step and look at it, and spoil several of a whole training."""
        trial = Trial()
        where = ("output", "gradient")[bench.number // 2 % 2]
        steps = EPOCHS * _steps_an_epoch(bench.reference.tree)
        # The first step of an epoch has none before it in that epoch.
        spoiled = bench.random.choice([step for step in range(1, steps - 1) if step % (steps // EPOCHS)])
        before = self._train(bench, "before", [], where, stop_in=spoiled - 1)
        after = self._train(bench, "after", [spoiled], where, stop_in=spoiled)
        trial.hit(f"{where}, looked at")
        for training in (before, after):
            trial.expect_end(training, STOPPED)
        if trial.lost:
            return trial
        one, other = (_state(bench.folder / name) for name in ("before", "after"))
        trial.expect(other["skipped"] == 1, f"step {spoiled}: {other['skipped']} steps were skipped")
        for name in _CHANGED_BY_A_STEP:
            trial.lost += [f"step {spoiled}: {name}{what}" for what in unequal(one[name], other[name])]
        momenta = unequal(one["optimizer"]["state"], other["optimizer"]["state"])
        trial.lost += [f"step {spoiled}: momentum{what}" for what in momenta]
        self._whole(bench, trial, where, steps)
        return trial

    def _whole(self, bench: Bench, trial: Trial, where: str, steps: int) -> None:
        spoiled = draw(bench.random, steps)
        training = self._train(bench, "whole", spoiled, where, stop_in=None)
        for _ in spoiled:
            trial.hit(f"{where}, in a whole training")
        trial.expect_end(training)
        if training.exit_code == 0:
            state = _state(bench.folder / "whole")
            trial.expect(state["skipped"] == len(spoiled), f"{state['skipped']} steps skipped of {spoiled}")
            trial.lost += [f"{name} is not finite at the end" for name in not_finite(state)]

    def _train(self, bench: Bench, name: str, steps: list[int], where: str, stop_in: int | None) -> Training:
        given = arguments(bench.recipe, bench.folder / name)
        given = [
            each.replace("--distiller=", "--distiller=experiments.faults.nan_distiller.Poisoned") for each in given
        ]
        given += [f"--distiller.steps={steps}", f"--distiller.where={where}", "--train.nonfinite=skip"]
        given += [] if stop_in is None else [f"--distiller.stop_in={stop_in}"]
        training = bench.begin(given, bench.log(name))
        training.wait()
        return training


def draw(generator: random.Random, steps: int) -> list[int]:
    """Return some of the steps of a training, in order, the first of all among them as often as any."""
    return sorted(generator.sample(range(steps), generator.randint(1, _MOST)))


def not_finite(state: object, place: str = "") -> list[str]:
    """Return the places of tensors in nested values that are not finite."""
    if isinstance(state, dict):
        return [found for name, value in state.items() for found in not_finite(value, f"{place}.{name}")]
    if isinstance(state, list | tuple):
        return [found for number, value in enumerate(state) for found in not_finite(value, f"{place}[{number}]")]
    return [place] if isinstance(state, Tensor) and not torch.isfinite(state).all() else []


def _state(tree: Path) -> dict:
    (folder,) = (folder for folder in run_folders(tree) if not is_teacher(folder))
    return load_checkpoint(tree / folder / "checkpoint.pt")


def _steps_an_epoch(tree: Path) -> int:
    """Return the steps of an epoch of the undisturbed run, by what the loader has counted."""
    loader = _state(tree)["loader"]
    steps: int = -(-loader["images"] // loader["batch_size"])
    return steps
