"""Trainings from start to end, each in a folder of its own."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from trg_pyg._program import say
from trg_pyg.data.facts import DataFacts
from trg_pyg.models.taps import TappedModel
from trg_pyg.runs import History, flatten
from trg_pyg.study.agenda import Agenda, Training
from trg_pyg.study.folder import RunFolder, environment, resumable_history
from trg_pyg.study.graph_probe import graph_probe
from trg_pyg.study.progress import Bars, Display, filling, make_bars
from trg_pyg.study.study import Study, build_network, images_of
from trg_pyg.study.tracking import Tracker
from trg_pyg.training.loop import Progress, Trainee, fit_together
from trg_pyg.training.stop import StopRequest
from trg_pyg.training.teacher_store import TeacherStore

# Told of a training that is about to start: of it, its network, whether it goes on from a checkpoint. It returns what
# is told the metrics of each epoch.
OnEpoch = Callable[[dict[str, float]], None]
Watch = Callable[[Training, TappedModel, bool], OnEpoch]


def train_together(
    trainings: Sequence[tuple[Training, TappedModel | None]],
    study: Study,
    agenda: Agenda,
    resume: bool,
    wait: bool = False,
    watch: Watch | None = None,
) -> list[tuple[TappedModel, History]]:
    """Train networks on the same batches and return each with the metrics of every epoch.

    Args:
        trainings: of one seed and recipe, each with its trained teacher; ``None`` where the method needs
            none.
        study: its data, device, processes and tracking.
        agenda: of the study, to show where it is.
        resume: go on from the folders' checkpoints, where there are any; a finished training is returned as it is.
        wait: for another process that trains in one of the folders; for what it leaves, resume.
        watch: looks at each training while it runs; looking must change nothing.

    Raises:
        InputError: another process trains in one of the folders, beside what :func:`fit_together` raises.
    """
    with ExitStack() as folders:
        if study.world.is_main:
            for training, _ in trainings:
                folders.enter_context(RunFolder(training.folder).owned(wait, study.quiet))
        # Those that have a checkpoint go on from it, the others start, so they are not at the same batch; nor are those
        # that hold out images for themselves.
        groups: dict[tuple[bool, int], list[tuple[Training, TappedModel | None]]] = {}
        for pair in trainings:
            key = not _resumes(pair[0], study, resume), -len(study.splits_of(pair[0].method).train)
            groups.setdefault(key, []).append(pair)
        done: dict[Path, tuple[TappedModel, History]] = {}
        for (new, _), group in sorted(groups.items(), key=lambda item: item[0]):
            results = _train(group, study, agenda, not new, watch)
            done |= {training.folder: result for (training, _), result in zip(group, results, strict=True)}
    return [done[training.folder] for training, _ in trainings]


def _resumes(training: Training, study: Study, resume: bool) -> bool:
    # The main process alone writes, so it alone knows.
    return bool(study.world.broadcast_object(resume and RunFolder(training.folder).has_checkpoint))


def _train(
    trainings: Sequence[tuple[Training, TappedModel | None]],
    study: Study,
    agenda: Agenda,
    resume: bool,
    watch: Watch | None,
) -> list[tuple[TappedModel, History]]:
    config, first = study.config, trainings[0][0]
    title = first.title if len(trainings) == 1 else f"{len(trainings)} students, seed {first.seed}"
    bars = make_bars(title, first.recipe.epochs, first.recipe.batch_size, agenda, study.quiet)
    reports = [Report(training, study, resume, bars) for training, _ in trainings]
    distillers = [training.distiller for training, _ in trainings]  # first, since each draws from the global state
    networks = [
        build_network(training.network, study.splits, training.seed, training.method.taps) for training, _ in trainings
    ]
    for network in networks:
        network.describe(study.splits.example)
    trainees = [
        Trainee(
            student=network,
            distiller=distiller,
            teacher=teacher,
            folder=training.folder,
            identity=flatten(training.identity),
            on_step=report.step,
            on_epoch=_on_epoch(report, None if watch is None else watch(training, network, resume)),
            probe=graph_probe(study, distiller, teacher),
        )
        for network, distiller, report, (training, teacher) in zip(
            networks, distillers, reports, trainings, strict=True
        )
    ]
    store = _store(study, agenda) if any(teacher is not None for _, teacher in trainings) else None
    minutes = config.checkpoint_minutes
    finished = False
    splits = study.splits_of(first.method)
    try:
        with StopRequest().listening() as stop:
            histories = fit_together(
                trainees,
                splits.train,
                splits.test,
                first.recipe,
                augment=config.data.augment(),
                seed=first.seed,
                device=study.device,
                resume=resume,
                shots=study.shots,
                checkpoint_seconds=None if minutes is None else 60 * minutes,
                keep_checkpoints=config.keep,
                stop=stop,
                world=study.world,
                heldout=study.splits.heldout,
                pools=splits.pools,
                store=store,
            )
        finished = True
    finally:
        if bars is not None:
            bars.close()
        for report in reports:
            report.close(failed=not finished)
    if store is not None:
        agenda.filled |= config.fill_store and store.asked > 0
    if store is not None and not study.quiet:
        say(f"teacher store: {store.computed:,} images were sent through the teacher for {store.asked:,} asked for")
    for report, history in zip(reports, histories, strict=True):
        report.complete(history)
    return list(zip(networks, histories, strict=True))


def _store(study: Study, agenda: Agenda) -> TeacherStore | None:
    """Return where teachers' outputs are kept, if they are."""
    config = study.config
    if not config.teacher_store:
        return None
    folder, most_bytes = config.output / "teachers" / "stored", int(config.store_gb * 1e9)
    on_fill = filling(study.quiet) if config.fill_store and not agenda.filled else None
    return TeacherStore(folder, config.teacher_store, images_of(study), most_bytes, on_fill)


def _on_epoch(report: "Report", watcher: OnEpoch | None) -> OnEpoch:
    if watcher is None:
        return report.epoch

    def epoch(metrics: dict[str, float]) -> None:
        report.epoch(metrics)
        watcher(metrics)

    return epoch


class Report:
    """What is seen and kept of a training: its folder, wandb and the terminal; by the main process alone.

    Args:
        training: the training.
        study: that it belongs to.
        resume: whether it goes on with what the folder has.
        bars: at the bottom of the terminal, if there are any.
    """

    def __init__(self, training: Training, study: Study, resume: bool, bars: Bars | None = None) -> None:
        self._folder = RunFolder(training.folder) if study.world.is_main else None
        if self._folder is not None:
            self._folder.describe(training.settings, environment(study.choices.command) | training.notes)
            DataFacts.of(study.splits).write(training.folder)
            if not resume:
                self._folder.write_history([])
        self._tracker = tracker_of(training, study, resume)
        tracked = study.world.is_main and training.tracked and study.config.wandb != "disabled"
        self._every = study.config.wandb_steps if tracked else None
        so_far = resumable_history(training.folder) if resume and bars is not None else []
        last = so_far[-1] if so_far else None
        splits = study.splits
        self._display = Display(
            training.title, training.recipe.epochs, bars, study.quiet, splits.evaluated, splits.item, last
        )

    def step(self, progress: Progress) -> None:
        """Show a step, and send the means of the epoch so far where that is due."""
        self._display.step(progress)
        done = (progress.epoch - 1) * progress.steps + progress.step
        if self._every is not None and done % self._every == 0:
            means = progress.meter.means()
            self._tracker.log({"epoch": done / progress.steps} | {f"step/{name}": mean for name, mean in means.items()})

    def epoch(self, metrics: dict[str, float]) -> None:
        """Keep and show the metrics of an epoch."""
        if self._folder is not None:
            try:
                self._folder.append(metrics)
            except OSError as error:
                # The history is in the checkpoint, and all of it is written at the end.
                warnings.warn(f"{error}: training goes on without this epoch's line in metrics.jsonl", stacklevel=2)
        self._tracker.log(metrics)
        self._display.epoch(metrics)

    def close(self, failed: bool) -> None:
        """End what is sent."""
        self._tracker.finish(failed=failed)

    def complete(self, history: History) -> None:
        """Write all epochs: a run that was killed between a checkpoint and its line in the file lacks that line."""
        if self._folder is not None:
            self._folder.write_history(history)


def tracker_of(training: Training, study: Study, resume: bool) -> Tracker:
    """Return what sends the metrics of a training to wandb; that of another process than the main one does nothing."""
    config = study.config
    return Tracker(
        training.folder,
        config.wandb if study.world.is_main and training.tracked else "disabled",
        project=config.wandb_project,
        group=study.name,
        name=" ".join(filter(None, (config.wandb_name, training.title))),
        config=_tracked(training.settings, study),
        resume=resume,
        entity=config.wandb_entity,
        tags=config.wandb_tags,
        notes=config.wandb_notes,
        unit="epochs" if config.wandb_steps is None else "entries",
    )


def _tracked(settings: dict[str, Any], study: Study) -> dict[str, Any]:
    """Return settings with the hash of the data, and a variant's options where other runs have theirs.

    So wandb can compare them.
    """
    settings = settings | {"data": settings["data"] | {"digest": study.splits.digest}}
    for distiller in settings.get("variants", {}).values():
        return settings | {"distiller": distiller}
    return settings
