"""The teacher: from a file, or trained once and kept, and never trusted before it is measured."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.study import Study, build_network, fingerprint, short_name
from experiments.training_run import TrainingRun, train
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.errors import InputError
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import load_weights
from trg_pyg.training.metrics import evaluate


@dataclass(frozen=True)
class Teacher:
    """A teacher that has been measured.

    Attributes:
        name: of the network.
        network: trained, on the study's device.
        weights: its file.
        stated: top-1 in percent that comes with the weights, if any does.
        metrics: on the test split.
    """

    name: str
    network: TappedModel
    weights: Path
    stated: float | None
    metrics: dict[str, float]

    def provenance(self) -> dict[str, str | float | None]:
        """Return what a student's run writes down of its teacher."""
        with self.weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"weights": str(self.weights), "sha256": digest, "test_top1": self.metrics["top1"]}


def obtain_teacher(study: Study) -> Teacher:
    """Load the teacher, or train it, and measure it on the test split.

    Raises:
        InputError: the accuracy is not the one that comes with the weights.
    """
    config = study.config.teacher
    network, weights, stated = _from_file(study, config.weights) if config.weights else _trained_here(study)
    network.to(study.device)
    metrics = evaluate(network, study.splits.test, config.train.eval_batch_size, study.shots, device=study.device)
    teacher = Teacher(config.name, network, weights, stated, metrics)
    claim = "states no accuracy" if stated is None else f"states {stated:.2f} %"
    print(
        f"teacher {config.name}: {metrics['top1']:.2f} % top-1 on {len(study.splits.test):,} test images "
        f"({weights} {claim})",
        flush=True,
    )
    tolerance = config.accuracy_tolerance
    if stated is not None and tolerance is not None and abs(stated - metrics["top1"]) > tolerance:
        raise InputError(
            f"teacher {config.name} has {metrics['top1']:.2f} % where {weights} states {stated:.2f} %: check its "
            "normalisation (teacher.mean, teacher.std) and the order of classes, or set teacher.accuracy_tolerance=null"
        )
    return teacher


def _from_file(study: Study, weights: Path) -> tuple[TappedModel, Path, float | None]:
    config = study.config.teacher
    network = build_network(replace(config, weights=None), study.splits, config.seed)
    return network, weights, load_weights(network.model, weights).accuracy


def _trained_here(study: Study) -> tuple[TappedModel, Path, float | None]:
    """Train the teacher by this study's own means, or take up the training that was done before."""
    config = study.config.teacher
    of_teacher = study.choices.settings["teacher"]
    network = {name: of_teacher[name] for name in study.choices.settings["student"]}
    settings = {
        "data": study.choices.settings["data"],
        "student": network,
        "train": of_teacher["train"],
        "distiller": {"class_path": "trg_pyg.distillers.Vanilla"},
        "seeds": [config.seed],
    }
    folder = study.config.output / "teachers" / study.folder.parent.name
    run = TrainingRun(
        title=f"teacher {config.name}",
        folder=folder / f"{short_name(config.name)}-{fingerprint(settings)}",
        network=config,
        distiller=Vanilla(study.student, None),
        recipe=config.train,
        seed=config.seed,
        settings=settings,
    )
    teacher, history = train(run, study, teacher=None, resume=True)
    return teacher, run.folder / "last.safetensors", history[-1]["test/top1"]
