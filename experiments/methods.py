"""The student, distilled by every method."""

from typing import Any

import torch

from experiments.config import Method
from experiments.study import Study, fingerprint, tapped
from experiments.teacher import Teacher
from experiments.training_run import History, TrainingRun, train_together
from experiments.variants import WITH_KD, folder_name
from trg_pyg.models.taps import TappedModel


def distil_all(study: Study, teacher: Teacher | None) -> dict[str, list[History]]:
    """Train the study's student by every method, once for each seed, and return the metrics of every epoch by method.

    The student's initial weights and its batches depend on the seed alone, so that all methods see the same.
    """
    methods, seeds, resume = study.choices.methods, study.choices.seeds, study.choices.resume
    results: dict[str, list[History]] = {method.name: [] for method in methods}
    groups = [methods] if study.config.share_teacher else [[method] for method in methods]
    for group in groups:
        for seed in seeds:
            runs = [_run(study, method, seed, teacher) for method in group]
            for method, (_, history) in zip(group, train_together(runs, study, resume), strict=True):
                results[method.name].append(history)
    return results


def _run(study: Study, method: Method, seed: int, teacher: Teacher | None) -> tuple[TrainingRun, TappedModel | None]:
    """Return a training of the student, and the teacher as the method looks at it."""
    teacher = teacher if method.needs_teacher else None
    # Of the settings, those that the result depends on: a folder holds runs that differ in the seed only.
    names = ("data", "student", "train") + (("teacher",) if method.needs_teacher else ())
    settings = {name: study.choices.settings[name] for name in names} | {"distiller": method.settings}
    name = folder_name(method.name) if method.is_variant else method.name
    torch.manual_seed(seed)
    run = TrainingRun(
        title=f"{method.name} seed {seed}",
        folder=study.folder / f"{name}-{fingerprint(settings)}" / f"seed{seed}",
        network=study.config.student,
        taps=method.taps,
        distiller=method.build(*study.pairs[method.taps]),
        recipe=study.config.train,
        seed=seed,
        settings=_named(settings, method) | {"seeds": [seed]},
        notes={"teacher": teacher.provenance()} if teacher else {},
    )
    return run, tapped(teacher.network, study.config.teacher, method.taps) if teacher else None


def _named(settings: dict[str, Any], method: Method) -> dict[str, Any]:
    """Return the settings as a configuration that gives the method its name again, where that is not its class's."""
    if method.is_variant:
        return {name: value for name, value in settings.items() if name != "distiller"} | {
            "variants": {method.name: method.settings}
        }
    return settings | ({"methods": [method.name]} if method.name.endswith(WITH_KD) else {})
