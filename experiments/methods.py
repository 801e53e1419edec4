"""The student, distilled by one method."""

import torch

from experiments.config import WITH_KD, Method
from experiments.study import Study, fingerprint, tapped
from experiments.teacher import Teacher
from experiments.training_run import History, TrainingRun, train


def distil(study: Study, method: Method, seed: int, teacher: Teacher | None) -> History:
    """Train the study's student by one method and return the metrics of every epoch.

    The student's initial weights and its batches depend on the seed alone, so that all methods see the same.
    """
    # Of the settings, those that the result depends on: a folder holds runs that differ in the seed only.
    names = ("data", "student", "train") + (("teacher",) if method.needs_teacher else ())
    settings = {name: study.choices.settings[name] for name in names} | {"distiller": method.settings}
    # The name of a method that was joined with KD is not that of its class, so its configuration has to say it.
    named = {"methods": [method.name]} if method.name.endswith(WITH_KD) else {}
    torch.manual_seed(seed)
    run = TrainingRun(
        title=f"{method.name} seed {seed}",
        folder=study.folder / f"{method.name}-{fingerprint(settings)}" / f"seed{seed}",
        network=study.config.student,
        taps=method.taps,
        distiller=method.build(*study.pairs[method.taps]),
        recipe=study.config.train,
        seed=seed,
        settings=settings | named | {"seeds": [seed]},
        notes={"teacher": teacher.provenance()} if teacher and method.needs_teacher else {},
    )
    network = tapped(teacher.network, study.config.teacher, method.taps) if teacher and method.needs_teacher else None
    _, history = train(run, study, network, study.choices.resume)
    return history
