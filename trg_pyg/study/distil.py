"""The student, distilled by every method."""

from dataclasses import replace

from trg_pyg._program import say
from trg_pyg.models.taps import TappedModel
from trg_pyg.runs import History
from trg_pyg.study.agenda import Agenda, Training
from trg_pyg.study.progress import duration
from trg_pyg.study.study import Study, build_network, tapped
from trg_pyg.study.teacher import Teacher
from trg_pyg.study.tracking import is_of_wandb
from trg_pyg.study.train import Watch, tracker_of, train_together


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
        done = {
            training.folder: _kept(study, training, agenda, watch)
            for training in group
            if training.folder in agenda.kept
        }
        rest = [_taught(study, training, teacher) for training in group if training.folder not in done]
        if rest:
            trained = train_together(rest, study, agenda, study.choices.resume, watch=watch)
            done |= {training.folder: history for (training, _), (_, history) in zip(rest, trained, strict=True)}
        histories = [done[training.folder] for training in group]
        agenda.finish(histories)
        if not study.quiet:
            for training in group:
                say(f"{training.title} is in {training.folder}")
        for training, history in zip(group, histories, strict=True):
            results[training.method.name].append(history)
    return results


def _say_what_begins(agenda: Agenda) -> None:
    left = agenda.seconds_left()
    titles = ", ".join(training.title for training in agenda.current)
    if all(training in agenda.finished for training in agenda.current):
        say(f"{agenda.place()}: {titles}, finished before")
    else:
        say(f"{agenda.place()}: {titles}" + ("" if left is None else f", about {duration(left)} left"))


def _kept(study: Study, training: Training, agenda: Agenda, watch: Watch | None) -> History:
    """Return the metrics of a run that stays as it is."""
    history = agenda.kept[training.folder]
    if watch is not None:
        watch(training, build_network(training.network, study.splits, training.seed, training.method.taps), True)
    if is_of_wandb():  # whose agent takes a trial that logs nothing for one that failed
        tracker = tracker_of(training, study, resume=True)
        for metrics in history:
            tracker.log(metrics)
        tracker.finish()
    return history


def _taught(study: Study, training: Training, teacher: Teacher | None) -> tuple[Training, TappedModel | None]:
    """Return the training, its teacher written down, and the teacher as the method looks at it.

    It is a copy, so that what the distiller holds is given up with it.
    """
    if teacher is None or not training.method.needs_teacher:
        return replace(training), None
    network = tapped(teacher.network, study.config.teacher, training.method.taps)
    return replace(training, notes={"teacher": teacher.provenance()}), network
