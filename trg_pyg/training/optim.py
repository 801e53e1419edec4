"""Optimiser and learning-rate schedule of a training."""

import math
import warnings
from bisect import bisect_right

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

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


def build_schedule(optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int) -> LambdaLR:
    """Return the schedule of the learning rate, to be stepped after every optimiser step.

    Args:
        optimizer: built with ``config.lr`` in all its groups.
        config: names the schedule and its options.
        steps_per_epoch: optimiser steps in an epoch, at least 1.
    """
    # A pure function of the step: no rounding accumulates, nothing but the step count is needed to resume, and the
    # configured momentum stays as it is (OneCycleLR would cycle it).
    return LambdaLR(optimizer, lambda step: lr_factor(step, config, steps_per_epoch))


def advance(schedule: LambdaLR) -> None:
    """Take the schedule to the next step, whether or not the optimiser took this one."""
    if schedule.last_epoch > 0:
        schedule.step()
        return
    with warnings.catch_warnings():
        # PyTorch takes a first step that loss scaling skips, or that is left out, for a wrong order of calls.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        schedule.step()


def lr_factor(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """Return what multiplies ``config.lr`` at an optimiser step.

    Args:
        step: optimiser steps taken before this one, from 0.
        config: names the schedule and its options.
        steps_per_epoch: optimiser steps in an epoch, at least 1.
    """
    total = config.epochs * steps_per_epoch
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
