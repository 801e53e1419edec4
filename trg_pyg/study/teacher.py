"""The teacher: from a file, published, loaded by its builder, or trained once and kept; always measured before use."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from trg_pyg._program import say
from trg_pyg.config.methods import Method
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.errors import InputError, count, require
from trg_pyg.metrics import Metric, score_named, score_of
from trg_pyg.models.pretrained import is_hub
from trg_pyg.models.published import PublishedTeacher, fetch, is_verified, record, sha256_of
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import digest_of, load_weights, not_finite
from trg_pyg.study.agenda import Agenda, Training
from trg_pyg.study.folder import finished_history
from trg_pyg.study.study import Pair, Study, build_network, fingerprint, identity_of, short_name
from trg_pyg.study.tracking import is_of_wandb
from trg_pyg.study.train import train_together
from trg_pyg.training.metrics import evaluate


@dataclass(frozen=True)
class Weights:
    """Where a teacher's weights come from.

    Attributes:
        origin: their file, or the arguments that load them.
        sha256: of the file; of the values where there is no file.
        stated: the score that comes with them, top-1 in percent, if any does.
        stated_by: who states it.
    """

    origin: str
    sha256: str
    stated: float | None
    stated_by: str


@dataclass(frozen=True)
class Teacher:
    """A teacher that has been measured.

    Attributes:
        name: of the network.
        network: trained, on the study's device.
        weights: where they come from.
        metrics: on the split that the students are evaluated on.
        evaluated: that split.
        score: what it is measured by.
    """

    name: str
    network: TappedModel
    weights: Weights
    metrics: dict[str, float]
    evaluated: str
    score: Metric

    def provenance(self) -> dict[str, str | float | None]:
        """Return what a student's run writes down of its teacher."""
        return {
            "weights": self.weights.origin,
            "sha256": self.weights.sha256,
            f"{self.evaluated}_{self.score.name}": self.metrics[self.score.name],
        }


def obtain_teacher(study: Study, agenda: Agenda) -> Teacher:
    """Load the teacher, or train it, and measure it on the split that the students are evaluated on.

    Args:
        study: that it teaches in.
        agenda: of the study, to show what comes after.

    Raises:
        InputError: the weights can't be had, are not the network's or not finite; the accuracy is not the one that
            comes with them.
    """
    config = study.config.teacher
    network, weights = _find(study, agenda)
    bad = not_finite(network.model)
    require(bad is None, f"teacher {config.name}: {weights.origin} has {bad} that is not finite; take sound weights")
    network.to(study.device)
    test, batch_size = study.splits.test, config.train.eval_batch_size
    metrics = evaluate(network, test, batch_size, study.shots, device=study.device, world=study.world)
    require(
        math.isfinite(metrics["loss"]),
        f"teacher {config.name}: its outputs with {weights.origin} are not finite; take sound weights",
    )
    score = score_named(test.task.score)
    reached = metrics[score.name]
    stated, tolerance = weights.stated, config.accuracy_tolerance
    claim = f"{weights.origin} states no accuracy" if stated is None else f"{weights.stated_by} states {stated:.2f} %"
    if not study.quiet:
        items = count(len(test), f"{study.splits.evaluated} {test.task.item}")
        say(f"teacher {config.name}: {reached:.2f} {score.unit} {score.title} on {items} ({claim})")
    if stated is not None and tolerance is not None and abs(stated - reached) > tolerance:
        # Trainers of other programs keep shares.
        unit = f", its unit (percent is read, and {stated:g} may be a share)" if 0 < stated <= 1 else ""
        raise InputError(
            f"teacher {config.name} has {reached:.2f} {score.unit} where {weights.stated_by} states {stated:.2f} %: "
            f"check its normalisation (teacher.mean, teacher.std), the order of classes{unit}, or set "
            "teacher.accuracy_tolerance=null" + _seen(study)
        )
    return Teacher(config.name, network, weights, metrics, study.splits.evaluated, score)


def _seen(study: Study) -> str:
    if study.splits.evaluated == "test":
        return ""
    return f", as it may have been trained on the {study.splits.item}s that data.validation holds out"


def _find(study: Study, agenda: Agenda) -> tuple[TappedModel, Weights]:
    config = study.config.teacher
    if study.choices.published is not None:
        return _published(study, study.choices.published)
    if study.choices.trains_teacher:
        return _trained_here(study, agenda)
    if config.weights is not None and not is_hub(config.weights):
        return _from_file(study, config.weights)
    return _from_args(study)


def _from_file(study: Study, file: Path) -> tuple[TappedModel, Weights]:
    config = study.config.teacher
    network = build_network(replace(config, weights=None), study.splits, config.seed)
    loaded = load_weights(network.model, file)
    return network, Weights(str(file), loaded.sha256, loaded.accuracy, str(file))


def _published(study: Study, entry: PublishedTeacher) -> tuple[TappedModel, Weights]:
    """Fetch the file, and let the entry state the accuracy where the file does not."""
    with study.world.main_first():
        file = fetch(entry, study.config.output / "teachers" / "published", study.quiet)
        try:
            network, weights = _from_file(study, file)
        except InputError as error:
            if is_verified(entry, file):
                raise
            raise InputError(f"{error}; or delete {file} to download it again") from error
        # Only now, since what could not be read, such as a page that reports an error, must not become the known
        # content.
        record(entry, file, weights.sha256, study.quiet)
    if weights.stated is None:
        weights = replace(weights, stated=entry.accuracy, stated_by=f"{entry.source} ({entry.name})")
    return network, weights


def _from_args(study: Study) -> tuple[TappedModel, Weights]:
    """Take the network with the weights that its builder, or timm from a hub, has loaded."""
    config = study.config.teacher
    network = build_network(config, study.splits, config.seed)
    _check_head(config.name, network.model)
    args = ", ".join(f"{key}={value}" for key, value in config.args.items())
    origin = f"{config.name}({args})" if config.weights is None else str(config.weights)
    return network, Weights(origin, digest_of(network.model), None, origin)


def _check_head(name: str, model: nn.Module) -> None:
    head = getattr(model, "new_head", "")
    require(
        not head,
        f"teacher {name}: its head would be untrained, {head}; set teacher.trained=false to train it on these data",
    )


def teacher_training(study: Study) -> Training:
    """Return the training of the study's teacher, where it is trained here."""
    config = study.config.teacher
    vanilla = Method("Vanilla", {"class_path": "trg_pyg.distillers.Vanilla"}, False, Vanilla.taps, Vanilla)
    of_teacher = study.choices.settings["teacher"]
    network = {name: of_teacher[name] for name in study.choices.settings["student"]}
    settings = {
        "data": study.choices.settings["data"],
        "student": network,
        "train": of_teacher["train"],
        "distiller": vanilla.settings,
        "seeds": [config.seed],
    }
    identity = identity_of(settings, study, vanilla.taps)
    folder = study.config.output / "teachers" / study.folder.parent.name
    return Training(
        vanilla,
        config.seed,
        folder=folder / f"{short_name(config.name)}-{fingerprint(identity)}",
        settings=settings,
        identity=identity,
        network=config,
        recipe=config.train,
        # Of what a student is, the classes alone hold for the teacher, which has no taps while it learns.
        pair=Pair(replace(next(iter(study.pairs.values())).student, features=(), embedding=None), None),
        title=f"teacher {config.name}",
        tracked=not is_of_wandb(),  # to wandb's agent, all that this process does is the one run of the trial
    )


def _trained_here(study: Study, agenda: Agenda) -> tuple[TappedModel, Weights]:
    """Train the teacher by this study's own means, or take up the training that was done before."""
    training = teacher_training(study)
    file = training.folder / "last.safetensors"
    history = finished_history(training.folder, training.recipe.epochs) if study.world.is_main else None
    history = study.world.broadcast_object(history)
    if history is None:
        ((teacher, history),) = train_together([(training, None)], study, agenda, resume=True, wait=True)
    else:  # it stays as it is, and what is written down of it too
        teacher = build_network(training.network, study.splits, training.seed)
        load_weights(teacher.model, file)
    return teacher, Weights(str(file), sha256_of(file), history[-1][score_of(history).key], str(file))
