"""One training from start to end, in a folder of its own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.config import NetworkConfig
from experiments.display import Display
from experiments.run_folder import RunFolder, environment
from experiments.study import Study, build_network, without_reading
from experiments.tracking import Tracker
from trg_pyg.distillers.base import Distiller, Taps
from trg_pyg.models.taps import TappedModel
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.loop import fit

History = list[dict[str, float]]


@dataclass(frozen=True)
class TrainingRun:
    """What one training needs beside the study that it belongs to.

    Attributes:
        title: shown beside its progress.
        folder: where it keeps everything.
        network: what is trained.
        taps: the features of it that the distiller reads.
        distiller: the method; its projections are initialised already.
        recipe: how it is trained.
        seed: of its initial weights, batches and draws.
        settings: plain settings that ``run.py --config`` takes to do the same again.
        notes: what else to write down with the environment.
    """

    title: str
    folder: Path
    network: NetworkConfig
    taps: Taps
    distiller: Distiller
    recipe: TrainConfig
    seed: int
    settings: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)


def train(run: TrainingRun, study: Study, teacher: TappedModel | None, resume: bool) -> tuple[TappedModel, History]:
    """Train a network and return it with the metrics of every epoch.

    Args:
        run: the training.
        study: its data, device and tracking.
        teacher: trained; ``None`` where the method needs none.
        resume: go on from the folder's checkpoint, if there is one; a finished training is returned as it is.
    """
    folder = RunFolder(run.folder)
    resume = resume and folder.has_checkpoint
    folder.describe(run.settings, environment(study.choices.command) | run.notes)
    network = build_network(run.network, study.splits, run.seed, run.taps)
    network.describe(study.splits.image_size)
    config = study.config
    tracker = Tracker(
        run.folder,
        config.wandb,
        project=config.wandb_project,
        group=study.name,
        name=run.title,
        config=run.settings,
        resume=resume,
    )
    display = Display(run.title, run.recipe.epochs, run.recipe.batch_size, study.choices.quiet)

    def record(metrics: dict[str, float]) -> None:
        folder.append(metrics)
        tracker.log(metrics)
        display.epoch(metrics)

    if not resume:
        folder.write_history([])
    finished = False
    try:
        history = fit(
            network,
            teacher,
            run.distiller,
            study.splits.train,
            study.splits.test,
            run.recipe,
            augment=config.data.augment(),
            seed=run.seed,
            device=study.device,
            folder=run.folder,
            resume=resume,
            identity=flatten(without_reading(run.settings)),
            shots=study.shots,
            on_step=display.step,
            on_epoch=record,
        )
        finished = True
    finally:
        display.close()
        tracker.finish(failed=not finished)
    # A run that was killed between a checkpoint and its line in the file lacks that line.
    folder.write_history(history)
    return network, history


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        flat |= flatten(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return flat
