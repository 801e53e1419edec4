"""The teacher: from a file, or trained once and kept, and never trusted before it is measured."""

from dataclasses import replace

from experiments.study import Study, build_network, fingerprint, short_name
from experiments.training_run import TrainingRun, train
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.errors import InputError
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import load_weights
from trg_pyg.training.metrics import evaluate


def obtain_teacher(study: Study) -> tuple[TappedModel, dict[str, float]]:
    """Return the trained teacher and its metrics on the test split.

    Raises:
        InputError: the accuracy is not the one that comes with the weights.
    """
    config = study.config.teacher
    if config.weights is not None:
        teacher = build_network(replace(config, weights=None), study.splits, config.seed)
        claimed = load_weights(teacher.model, config.weights).accuracy
        source = str(config.weights)
    else:
        teacher, claimed, source = _trained_here(study)
    teacher.to(study.device)
    measured = evaluate(teacher, study.splits.test, config.train.eval_batch_size, study.shots, device=study.device)
    stated = "states no accuracy" if claimed is None else f"states {claimed:.2f} %"
    print(
        f"teacher {config.name}: {measured['top1']:.2f} % top-1 on {len(study.splits.test):,} test images "
        f"({source} {stated})",
        flush=True,
    )
    tolerance = config.accuracy_tolerance
    if claimed is not None and tolerance is not None and abs(claimed - measured["top1"]) > tolerance:
        raise InputError(
            f"teacher {config.name} has {measured['top1']:.2f} % where {source} states {claimed:.2f} %: check its "
            "normalisation (teacher.mean, teacher.std) and the order of classes, or set teacher.accuracy_tolerance=null"
        )
    return teacher, measured


def _trained_here(study: Study) -> tuple[TappedModel, float, str]:
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
    return teacher, history[-1]["test/top1"], str(run.folder)
