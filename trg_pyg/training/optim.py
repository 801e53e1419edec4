"""Optimiser and learning-rate schedule of a training."""

import math
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trg_pyg.errors import require
from trg_pyg.training.config import TrainConfig

# PyTorch's OneCycleLR defaults, which published one-cycle recipes rely on.
_ONECYCLE_RISE = 0.3
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = 1 / 25 / 1e4


def build_optimizer(module: nn.Module, config: TrainConfig) -> Optimizer:
    """Return the optimiser of all parameters of ``module`` that require a gradient.

    Args:
        module: what is trained; the student together with its distiller.
        config: names the optimiser and its options.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if config.optimizer == "SGD":
        # RepDistiller decays norms and biases too; its published accuracies hold for that.
        return SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            # A step that the loss scale of fp16 skips leaves the momentum of PyTorch's fused SGD uninitialised, and it
            # can't take a step where some parameters have one and others, frozen until now, have none.
            fused=config.precision != "fp16" and not config.freeze_epochs,
        )
    # DeiT's recipe: decay pulls a norm's scale to 0, where its output vanishes, and a bias gains nothing from it.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=config.lr, fused=True)


def build_schedule(
    optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int, restarts: Sequence[float] = ()
) -> LambdaLR:
    """Return the schedule of the learning rate, to be stepped after every optimiser step.

    Args:
        optimizer: built with ``config.lr`` in all its groups.
        config: names the schedule and its options.
        steps_per_epoch: optimiser steps in an epoch, at least 1.
        restarts: shares of the training at which the whole schedule begins anew.
    """
    # A pure function of the step: no rounding accumulates, nothing but the step count is needed to resume, and the
    # configured momentum stays as it is (OneCycleLR would cycle it).
    return LambdaLR(optimizer, lambda step: lr_factor(step, config, steps_per_epoch, restarts))


def advance(schedule: LambdaLR) -> None:
    """Take the schedule to the next step, whether or not the optimiser took this one."""
    if schedule.last_epoch > 0:
        schedule.step()
        return
    with warnings.catch_warnings():
        # PyTorch takes a first step that loss scaling skips, or that is left out, for a wrong order of calls.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        schedule.step()


def phase_starts(total: int, restarts: Sequence[float]) -> list[int]:
    """Return the steps of a training, counted from 0, at which its phases begin; the first is 0.

    A training that is too short to have a step in a phase does not have the phase.

    Args:
        total: optimiser steps of the training.
        restarts: shares of the training, rising, in (0, 1).

    Raises:
        InputError: the shares do not rise.
    """
    shares = [0.0, *restarts, 1.0]
    require(
        all(a < b for a, b in pairwise(shares)),
        f"restarts {tuple(restarts)}: shares of the training rise, from above 0 to below 1",
    )
    starts = [0]
    for share in restarts:
        start = math.floor(share * total)
        # The first step whose progress, step / total, is the share or more, as a method sees it.
        starts.append(start if start / total >= share else start + 1)
    return [start for start, end in pairwise([*starts, total]) if start < end]


def lr_factor(step: int, config: TrainConfig, steps_per_epoch: int, restarts: Sequence[float] = ()) -> float:
    """Return what multiplies ``config.lr`` at an optimiser step.

    Args:
        step: optimiser steps taken before this one, from 0.
        config: names the schedule and its options.
        steps_per_epoch: optimiser steps in an epoch, at least 1.
        restarts: shares of the training at which the whole schedule begins anew, in as many steps as there are.
    """
    total = config.epochs * steps_per_epoch
    if restarts:
        starts = [*phase_starts(total, restarts), total]
        phase = min(bisect_right(starts, step), len(starts) - 1)
        begin, end = starts[phase - 1], starts[phase]
        step = (step - begin) * total // (end - begin)
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if config.schedule == "onecycle":
        share = warmup / total if warmup else _ONECYCLE_RISE
        return _onecycle(step, total, share)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if config.schedule == "multistep":
        return rise * config.gamma ** bisect_right(config.milestones, step // steps_per_epoch)
    if config.schedule == "cosine":
        return rise * _cosine(1.0, 0.0, (step - warmup) / max(total - warmup, 1))
    return rise


def _onecycle(step: int, total: int, share: float) -> float:
    last = total - 1
    peak = max(share * total - 1, 0.0)
    if step < peak:
        return _cosine(_ONECYCLE_START, 1.0, step / peak)
    if last <= peak:
        return 1.0
    return _cosine(1.0, _ONECYCLE_END, (step - peak) / (last - peak))


def _cosine(start: float, end: float, position: float) -> float:
    position = min(max(position, 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2
