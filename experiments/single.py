"""One training from start to end, in a folder of its own."""

from typing import Any

from experiments.config import Method
from experiments.display import Display
from experiments.run_folder import RunFolder
from experiments.study import Study, build_network
from experiments.tracking import Tracker
from trg_pyg.models.taps import TappedModel
from trg_pyg.training.loop import fit

History = list[dict[str, float]]


def distil(study: Study, method: Method, seed: int, teacher: TappedModel | None) -> History:
    """Train the study's student by one method and return the metrics of every epoch.

    The student's initial weights depend on the seed alone, so all methods start from the same ones.
    """
    config = study.config
    student = build_network(config.student, study.splits, seed)
    student.describe(study.splits.image_size)
    distiller = method.build(study.student, study.teacher)
    folder = RunFolder(study.run_folder(method, seed))
    resume = config.resume and folder.has_checkpoint
    identity = study.identity(method)
    folder.describe(_settings(study, method, seed), study.choices.command)
    title = f"{method.name} seed {seed}"
    tracker = Tracker(
        folder.path,
        config.wandb,
        project=config.wandb_project,
        group="/".join(study.folder.parts[-2:]),
        name=title,
        config={**identity, "seed": seed},
        resume=resume,
    )
    display = Display(title, config.train.epochs, config.train.batch_size, config.quiet)
    history = _Recorder(folder, tracker, display, resume)
    failed = True
    try:
        result = fit(
            student,
            teacher,
            distiller,
            study.splits.train,
            study.splits.test,
            config.train,
            augment=config.data.augment(),
            seed=seed,
            device=study.device,
            folder=folder.path,
            resume=resume,
            identity={"settings": identity},
            shots=study.shots,
            on_step=display.step,
            on_epoch=history,
        )
        failed = False
    finally:
        display.close()
        tracker.finish(failed)
    folder.write_history(result)
    return result


class _Recorder:
    """Takes the metrics of each epoch to wherever they are kept or shown."""

    def __init__(self, folder: RunFolder, tracker: Tracker, display: Display, resume: bool) -> None:
        self._folder, self._tracker, self._display = folder, tracker, display
        if not resume:
            folder.write_history([])

    def __call__(self, metrics: dict[str, float]) -> None:
        self._folder.append(metrics)
        self._tracker.log(metrics)
        self._display.epoch(metrics)


def _settings(study: Study, method: Method, seed: int) -> dict[str, Any]:
    return {**study.choices.settings, "distiller": method.settings, "seeds": [seed]}
