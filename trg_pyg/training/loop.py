"""The training loop."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.utils import clip_grad_norm_

from trg_pyg.data.base import Augmentation, ImageSource
from trg_pyg.data.loader import Loader, make_loader
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import require
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import save_weights
from trg_pyg.step import Step
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.meter import Meter
from trg_pyg.training.metrics import Shots, evaluate
from trg_pyg.training.modules import DistillationModule, FrozenTeacher
from trg_pyg.training.optim import build_optimizer, build_schedule
from trg_pyg.training.state import TrainingState

# Steps between two looks at the loss: each look waits for the device.
_CHECK_EVERY = 50


class TrainingDiverged(RuntimeError):
    """A loss is no longer finite; the message names the parts and the epoch."""


class Progress(NamedTuple):
    """Where a training stands after a step.

    Attributes:
        epoch: of this step, from 1.
        step: within the epoch, from 1.
        steps: in an epoch.
        meter: running means of this epoch; reading them waits for the device.
    """

    epoch: int
    step: int
    steps: int
    meter: Meter


def fit(
    student: TappedModel,
    teacher: TappedModel | None,
    distiller: Distiller,
    train_set: ImageSource,
    test_set: ImageSource,
    config: TrainConfig,
    *,
    augment: Augmentation | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    resume: bool = False,
    identity: dict[str, Any] | None = None,
    shots: Shots | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train ``student`` and ``distiller`` in place and return the metrics of every epoch.

    The same arguments, with a student and a distiller initialised alike, give the same weights on a CPU, and so does
    a training that was stopped and resumed. ``seed`` fixes everything drawn here; the initialisation is the caller's.

    Args:
        student: moved to ``device``.
        teacher: frozen and moved to ``device``; not run where the distiller does not need one.
        distiller: its parameters train with the student's.
        train_set: on any device, or in files; each batch is moved to ``device``.
        test_set: evaluated after each epoch.
        config: recipe of the training.
        augment: applied by the loader (:func:`~trg_pyg.data.loader.make_loader`) to each training batch.
        seed: of the order and augmentation of the images, of the distiller's draws and of dropout: three streams, so
            that methods which draw more or less still see the same batches.
        device: where both networks run.
        folder: where ``checkpoint.pt`` (after each epoch), ``last.safetensors`` and ``best.safetensors`` (student
            weights after the last epoch, and after that of the highest test top-1) go, replacing older ones; None
            keeps nothing.
        resume: continue from ``folder``'s checkpoint.
        identity: plain values by name that a checkpoint must agree on to be resumed, beside ``config``, ``seed`` and
            the number of training images; the distiller's options, for example.
        shots: groups of classes to report, see :func:`~trg_pyg.training.metrics.evaluate`.
        on_step: called after each step.
        on_epoch: called with the metrics of each epoch, once its checkpoint is written; not for resumed epochs.

    Returns:
        One dictionary an epoch, resumed ones included: ``epoch`` (from 1), ``lr`` (of its first step),
        ``train/total``, ``train/<part>`` for each part of the loss, ``train/top1``, ``test/<metric>``,
        ``images_per_second`` and ``ms_per_step`` (wall time of training alone, loading included), ``seconds`` (with
        evaluation), ``best/top1`` and ``best/epoch`` (the highest test top-1 so far). Accuracies are in percent.

    Raises:
        InputError: no teacher where the distiller needs one, an empty set, or a checkpoint that is missing,
            unreadable or of another training.
        TrainingDiverged: a loss became infinite or NaN; the last finite epoch's checkpoint remains.
    """
    device = torch.device(device)
    _check(teacher, distiller, train_set, folder, resume)
    check_batches(distiller, len(train_set), config.batch_size)
    order, draws, dropout = _seeds(seed)
    distiller.bind(train_set.targets.cpu(), draws)
    loader = make_loader(train_set, config.batch_size, augment=augment, generator=order, device=device)
    frozen = None
    if teacher is not None and distiller.needs_teacher:
        frozen = FrozenTeacher(teacher, config.precision).to(device)
    module = DistillationModule(student, distiller, config.precision).to(device)
    optimizer = build_optimizer(module, config)
    state = TrainingState(
        identity=_identity(config, seed=seed, train_images=len(train_set)) | (identity or {}),
        module=module,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config, len(loader)),
        scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "fp16"),
        generators={"order": order, "draws": draws},
        device=device,
    )
    # Dropout can draw from the global generators only. They are seeded here, so that a training does not depend on
    # what was drawn before it, and put back after it, so that it does not change what is drawn next.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(dropout)
        if resume and folder is not None:
            state.load(folder / "checkpoint.pt")
        for epoch in range(len(state.history) + 1, config.epochs + 1):
            started = time.perf_counter()
            metrics: dict[str, float] = {"epoch": epoch, "lr": optimizer.param_groups[0]["lr"]}
            metrics |= _named("train", train_epoch(state, frozen, loader, config, on_step))
            trained = time.perf_counter() - started
            metrics["images_per_second"] = len(train_set) / trained
            metrics["ms_per_step"] = 1000 * trained / len(loader)
            tested = evaluate(student, test_set, config.eval_batch_size, shots, config.precision, device)
            metrics |= _named("test", tested)
            _check_finite("test/loss", metrics, epoch)
            metrics["seconds"] = time.perf_counter() - started
            metrics |= _best(metrics, state.history)
            state.history.append(metrics)
            if folder is not None:
                _save(state, folder)
            if on_epoch is not None:
                on_epoch(dict(metrics))
    return state.history


def train_epoch(
    state: TrainingState,
    teacher: FrozenTeacher | None,
    loader: Loader,
    config: TrainConfig,
    on_step: Callable[[Progress], None] | None = None,
) -> dict[str, float]:
    """Train for one pass over ``loader`` and return the means of ``total``, each loss part and ``top1`` (percent).

    Raises:
        TrainingDiverged: the total loss became infinite or NaN.
    """
    module, optimizer, scaler = state.module.train(), state.optimizer, state.scaler
    epoch, steps, meter = len(state.history) + 1, len(loader), Meter()
    for number, batch in enumerate(loader, start=1):
        images, target, index = (tensor.to(state.device, non_blocking=True) for tensor in batch)
        progress = ((epoch - 1) * steps + number - 1) / (config.epochs * steps)
        step = Step(target, progress, state.generators["draws"], index)
        losses, logits = module(images, None if teacher is None else teacher(images), step)

        optimizer.zero_grad()
        scaler.scale(losses.total).backward()
        if config.grad_clip is not None:
            scaler.unscale_(optimizer)
            clip_grad_norm_(module.parameters(), config.grad_clip)
        scaler.step(optimizer)
        scaler.update()
        state.schedule.step()

        top1 = 100 * (logits.detach().argmax(dim=1) == target).float().mean()
        meter.update({**losses.parts, "total": losses.total, "top1": top1}, weight=len(images))
        if number % _CHECK_EVERY == 0 or number == steps:
            _check_finite("total", meter.means(), epoch)
        if on_step is not None:
            on_step(Progress(epoch, number, steps, meter))
    return meter.means()


def check_batches(distiller: Distiller, train_images: int, batch_size: int) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` where a batch of the training would be too small for the distiller."""
    smallest = train_images % batch_size or batch_size
    require(
        smallest >= distiller.min_images,
        f"train.batch_size = {batch_size} leaves a batch of {smallest} of {train_images} training images, and "
        f"{type(distiller).__name__} needs {distiller.min_images} images for its neighbours: choose another "
        "batch size, fewer neighbours or more tokens",
    )


def _check(
    teacher: TappedModel | None, distiller: Distiller, train_set: ImageSource, folder: Path | None, resume: bool
) -> None:
    name = type(distiller).__name__
    require(
        teacher is not None or not distiller.needs_teacher, f"{name} has no teacher: give one, or a distiller without"
    )
    require(len(train_set) > 0, "the training set has 0 images; choose a set with images")
    require(folder is not None or not resume, "resume is set but no folder: give the folder of the run to continue")


def _seeds(seed: int) -> tuple[torch.Generator, torch.Generator, int]:
    # Seeds drawn from one generator: seed + 1 would give one run the stream that another run uses otherwise.
    root = torch.Generator().manual_seed(seed)
    order, draws, dropout = torch.randint(2**62, (3,), generator=root).tolist()
    return torch.Generator().manual_seed(order), torch.Generator().manual_seed(draws), dropout


def _identity(config: TrainConfig, **others: int) -> dict[str, Any]:
    return {**{f"train.{name}": value for name, value in asdict(config).items()}, **others}


def _named(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}


def _best(metrics: dict[str, float], history: list[dict[str, float]]) -> dict[str, float]:
    epochs = [*history, metrics]
    best = max(epochs, key=lambda epoch: epoch["test/top1"])  # the first of equals
    return {"best/top1": best["test/top1"], "best/epoch": best["epoch"]}


def _save(state: TrainingState, folder: Path) -> None:
    metrics, network = state.history[-1], state.module.student.model
    about = {"epoch": str(metrics["epoch"]), "accuracy": f"{metrics['test/top1']:.2f}"}
    if metrics["best/epoch"] == metrics["epoch"]:
        save_weights(network, folder / "best.safetensors", about)
    save_weights(network, folder / "last.safetensors", about)
    # The checkpoint comes last: where it says that an epoch is done, that epoch's weights are there too.
    state.save(folder / "checkpoint.pt")


def _check_finite(watched: str, metrics: dict[str, float], epoch: int) -> None:
    if math.isfinite(metrics[watched]):
        return
    bad = ", ".join(f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value))
    raise TrainingDiverged(
        f"in epoch {epoch} {bad}: lower train.lr, set train.grad_clip, or use train.precision bf16 or fp32"
    )
