"""The student, distilled by every method."""

import torch

from trg_pyg._program import say
from trg_pyg.models.taps import TappedModel
from trg_pyg.study.agenda import Agenda, Planned
from trg_pyg.study.progress import duration
from trg_pyg.study.study import Study, tapped
from trg_pyg.study.teacher import Teacher
from trg_pyg.study.train import History, TrainingRun, Watch, train_together


def distil_all(
    study: Study, teacher: Teacher | None, agenda: Agenda, watch: Watch | None = None
) -> dict[str, list[History]]:
    """Train the study's student by every method, once for each seed, and return the metrics of every epoch by method.

    The student's initial weights and its batches depend on the seed alone, so that all methods see the same.

    Args:
        study: with its methods and seeds.
        teacher: trained; ``None`` where no method needs one.
        agenda: of the study.
        watch: looks at each training while it runs; looking must change nothing.
    """
    results: dict[str, list[History]] = {method.name: [] for method in study.choices.methods}
    for group in agenda.groups:
        agenda.begin(group)
        if not study.quiet and len(agenda.runs) > 1:
            _say_what_begins(agenda)
        runs = [_run(study, planned, teacher) for planned in group]
        trained = train_together(runs, study, agenda, study.choices.resume, watch=watch)
        histories = [history for _, history in trained]
        agenda.finish(histories)
        if not study.quiet:
            for planned in group:
                say(f"{planned.title} is in {planned.folder}")
        for planned, history in zip(group, histories, strict=True):
            results[planned.method.name].append(history)
    return results


def _say_what_begins(agenda: Agenda) -> None:
    left = agenda.seconds_left()
    titles = ", ".join(planned.title for planned in agenda.current)
    if all(planned in agenda.finished for planned in agenda.current):
        say(f"{agenda.place()}: {titles}, finished before")
    else:
        say(f"{agenda.place()}: {titles}" + ("" if left is None else f", about {duration(left)} left"))


def _run(study: Study, planned: Planned, teacher: Teacher | None) -> tuple[TrainingRun, TappedModel | None]:
    """Return a training of the student, and the teacher as the method looks at it."""
    method, seed = planned.method, planned.seed
    teacher = teacher if method.needs_teacher else None
    torch.manual_seed(seed)
    run = TrainingRun(
        title=planned.title,
        folder=planned.folder,
        network=study.config.student,
        taps=method.taps,
        distiller=method.build(*study.pairs[method.taps]),
        recipe=study.config.train,
        seed=seed,
        settings=planned.settings | {"seeds": [seed]},
        notes={"teacher": teacher.provenance()} if teacher else {},
    )
    return run, tapped(teacher.network, study.config.teacher, method.taps) if teacher else None
