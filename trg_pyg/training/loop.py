"""The training loop."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from trg_pyg.batch import Batch
from trg_pyg.data.base import Augmentation, Source
from trg_pyg.data.loading.loader import Loader, make_loader
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import require
from trg_pyg.models.taps import TappedModel
from trg_pyg.tasks.base import Groups
from trg_pyg.training.compiled import convolutions_channels_last
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.deterministic import deterministic_algorithms
from trg_pyg.training.distributed import SINGLE_PROCESS, World
from trg_pyg.training.learner import History, Learner, Progress, Seeds, Trainee, TrainingDiverged
from trg_pyg.training.mixing import Mixing, check_mixing
from trg_pyg.training.modules import check_loss_scope, least_images
from trg_pyg.training.stop import StopRequest, TrainingStopped
from trg_pyg.training.teacher_store import TeacherStore, Views
from trg_pyg.training.teaching import Teaching

__all__ = ["Progress", "Trainee", "TrainingDiverged", "TrainingStopped", "check_batches", "fit", "fit_together"]

# Steps between two looks at the loss and the clock: each look waits for the device and the other processes.
_CHECK_EVERY = 50
# Steps between two questions among processes whether to stop.
_ASK_EVERY = 10


def fit(
    student: TappedModel,
    teacher: TappedModel | None,
    distiller: Distiller,
    train_set: Source,
    test_set: Source,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    identity: dict[str, Any] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    probe: Callable[[TappedModel], dict[str, float]] | None = None,
    **options: Any,
) -> History:
    """Train one student and return the metrics of every epoch.

    The arguments are those of a :class:`~trg_pyg.training.learner.Trainee` and of :func:`fit_together`, by their names.
    """
    trainee = Trainee(student, distiller, teacher, folder, identity or {}, on_step, on_epoch, probe)
    return fit_together([trainee], train_set, test_set, config, **options)[0]


def fit_together(
    trainees: Sequence[Trainee],
    train_set: Source,
    test_set: Source,
    config: TrainConfig,
    *,
    augment: Augmentation | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    resume: bool = False,
    shots: Groups | None = None,
    checkpoint_seconds: float | None = None,
    keep_checkpoints: int = 2,
    stop: StopRequest | None = None,
    world: World = SINGLE_PROCESS,
    heldout: Source | None = None,
    pools: Mapping[str, Source] | None = None,
    store: TeacherStore | None = None,
) -> list[History]:
    """Train students on the same batches, step by step in turn, and return the metrics of every epoch of each.

    A student's result is the one that it would have alone; what students share, batches and a teacher's forward passes,
    is computed once.

    The same arguments, with students and distillers initialised alike, give the same weights on a CPU, and so does a
    training that was stopped and resumed. ``seed`` fixes everything drawn here; the initialisation is the caller's.
    With ``config.ema`` students end with their mean weights.

    Of several processes, each gives the same arguments, but for its device. Each computes its share of every batch;
    losses, gradients and metrics are those of the whole batch, see
    :class:`~trg_pyg.training.modules.DistillationModule`, and the main process writes the files.

    Args:
        trainees: students with their distillers and teachers.
        train_set: on any device, or in files; each batch is moved to ``device``.
        test_set: evaluated on.
        config: recipe of the training.
        augment: applied by the loader (:func:`~trg_pyg.data.loading.loader`) to each training batch.
        seed: of the order, augmentation and mixing of the images, of the distiller's draws and of dropout: three
            streams, so that methods which draw more or less still see the same batches.
        device: where all networks run.
        resume: continue from the checkpoints in the trainees' folders; a student that is ahead of the others waits.
        shots: groups of classes to report, see :func:`~trg_pyg.training.metrics.evaluate`.
        checkpoint_seconds: save a checkpoint within an epoch too, where the last one is this old; None: between epochs.
        keep_checkpoints: how many of each trainee are kept, the last one included, >= 1: should it be damaged, the one
            before is there.
        stop: looked at after every step, of several processes after every tenth; where it is set, all trainees are
            saved and the training ends.
        world: the processes that train together.
        heldout: images that are neither trained on nor reported: where they are given, the best epoch is chosen by
            them, and not by ``test_set``.
        pools: further images by name, for methods that take them: ``"heldout"``, ``"unlabelled"``; each student has an
            endless stream of its own, in an order that is the same for all.
        store: where teachers' outputs are kept and found again; results are the same without.

    Returns:
        For each trainee one dictionary an epoch, resumed ones included: ``epoch`` (from 1), ``lr`` (of its first
        step), ``train/total``, ``train/<part>`` for each part of the loss, ``train/<score>``, ``test/<metric>`` and
        ``heldout/<metric>`` where ``config.eval_every`` asks for it, and with it what the trainee's probe gives,
        ``images_per_second`` and ``ms_per_step`` (wall time of training alone, loading included, divided by the
        trainees that share it), ``passes`` (images sent through student and teacher for each training image),
        ``seconds`` (with evaluation), ``best/<score>`` and ``best/epoch`` (the task's score on the test images in
        the best epoch so far: by that on the images held out where there are some). Accuracies are in percent.

    Raises:
        InputError: no trainee, or two that share a student, a distiller or a folder; no teacher where a distiller needs
            one, an empty set, a batch or a part of one that is too small, or a checkpoint that is missing, unreadable
            or of another training; an operation that cannot be deterministic where the recipe asks for it; views of
            which there are too many for a store.
        TrainingDiverged: a loss became infinite or NaN; the last finite checkpoint remains.
        TrainingStopped: ``stop`` was set.
    """
    check_mixing(config, train_set)
    require(keep_checkpoints >= 1, f"keep_checkpoints={keep_checkpoints}: give 1 or more")
    device = torch.device(device)
    _check_apart(trainees)
    for trainee in trainees:
        _check(trainee, train_set, resume)
        check_batches(trainee.distiller, len(train_set), config, world)
    seeds = _seeds(seed, config, world)
    loader = make_loader(
        train_set,
        config.batch_size,
        augment=augment,
        generator=torch.Generator().manual_seed(seeds.order),
        device=device,
        rank=world.rank,
        world_size=world.size,
        views=config.views,
        pairs=bool(config.mixes),
        balanced=config.balanced_sampling,
    )
    teachers = [trainee.teacher if trainee.distiller.needs_teacher else None for trainee in trainees]
    apart = [trainee.distiller.has_views() for trainee in trainees]
    teaching = Teaching(teachers, train_set.example, config, world, device, apart)
    served = store is not None and any(each and not alone for each, alone in zip(teachers, apart, strict=True))
    views = Views.of(augment, config, train_set) if served else None
    networks = [trainee.student for trainee in trainees]
    with (
        deterministic_algorithms(config.deterministic, device),
        convolutions_channels_last([*networks, *teaching.networks] if config.channels_last else []),
        closing(teaching),
    ):
        learners = [
            Learner(
                trainee,
                train_set,
                config,
                seeds=seeds,
                device=device,
                world=world,
                steps=len(loader),
                keep_checkpoints=keep_checkpoints,
                pools=pools,
                augment=augment,
            )
            for trainee in trainees
        ]
        if resume:
            states = [learner.resume() for learner in learners]
            loader.load_state_dict(states[min(range(len(learners)), key=lambda number: learners[number].place)])
        else:
            for learner in learners:
                learner.meet(train_set)
        mixing = None
        if Mixing.is_on(config):
            classes = trainees[0].student.describe(train_set.example).num_classes
            mixing = Mixing(config, classes, world)
        clock = _Clock(checkpoint_seconds, world, stop, device)
        if store is not None and views is not None:
            teaching.keep(store, train_set, views)
            if store.on_fill is not None:
                _fill(store.on_fill, teaching, train_set, augment, mixing, views, clock)
        while (epoch := min(learner.place[0] for learner in learners)) < config.epochs:
            _train_epoch(epoch, learners, teaching, loader, mixing, config, clock)
            for learner in learners:
                if learner.place == (epoch, len(loader)):
                    learner.finish_epoch(len(train_set), test_set, shots, loader.state_dict(), heldout)
            clock.saved()
            if epoch + 1 < config.epochs and clock.must_stop():
                raise TrainingStopped(clock.reason(f"after epoch {epoch + 1} of {config.epochs}"))
        for learner in learners:
            learner.finish()
    return [learner.state.history for learner in learners]


def check_batches(distiller: Distiller, train_images: int, config: TrainConfig, world: World = SINGLE_PROCESS) -> int:
    """Return how many images a distiller sees at once, at the least, or refuse batches that it cannot learn from.

    Args:
        distiller: asked for its ``min_images``.
        train_images: of the training set.
        config: sizes of the batches.
        world: the processes that share them.

    Raises:
        InputError: a batch is too small for the distiller, or to be cut up; its loss cannot be that of a share; its
            labels would be of a kind that it cannot learn from; or it trains in one process only.
    """
    require(
        world.size == 1 or not distiller.learns_beside(),
        f"{type(distiller).__name__} on {world.size} processes: what it learns beside the student would differ from "
        "process to process; train it in one",
    )
    check_loss_scope(distiller, world, config.loss_scope)
    distiller.check_labels(config.mixes, config.alters_labels)
    fewest, item = train_images, distiller.task.item
    last = train_images % config.batch_size or config.batch_size
    for batch in {min(config.batch_size, train_images), last}:
        shares = world.part(batch)
        require(
            shares[-1] >= config.accumulate,
            f"train.batch_size = {config.batch_size} leaves a batch of {batch} of {train_images} training {item}s: too "
            f"few for train.accumulate = {config.accumulate} parts on each of {world.size} processes; choose another "
            "batch size, fewer parts or fewer processes",
        )
        smallest = sum(share // config.accumulate for share in shares)
        seen = least_images(distiller, world, config.loss_scope, smallest)
        require(
            seen >= distiller.min_images,
            f"train.batch_size = {config.batch_size} leaves {_whose(config, world)} of {seen} of {train_images} "
            f"training {item}s, and {type(distiller).__name__} needs {distiller.min_images} {item}s for its "
            "neighbours: choose another batch size, fewer neighbours or more tokens",
        )
        fewest = min(fewest, seen)
    return fewest


def _whose(config: TrainConfig, world: World) -> str:
    if world.size == 1 and config.accumulate == 1:
        return "a batch"
    return f"a part (train.accumulate = {config.accumulate}, {world.size} processes, {config.loss_scope} losses)"


def _fill(
    told: Callable[[int, int], None],
    teaching: Teaching,
    train_set: Source,
    augment: Augmentation | None,
    mixing: Mixing | None,
    views: Views,
    clock: "_Clock",
) -> None:
    """Have the logits of all views of all images stored, view by view."""
    world, config = clock.world, teaching.config
    loader = make_loader(
        train_set,
        config.batch_size,
        augment=augment,
        shuffle=False,
        device=teaching.device,
        rank=world.rank,
        world_size=world.size,
        views=config.views,
        pairs=bool(config.mixes),
    )
    done, images = 0, len(train_set) * views.number
    for loader.view in range(views.number):
        for step, batch in enumerate(loader):
            batch = batch.to(teaching.device)
            if mixing is not None:
                batch = mixing(batch, loader.generator)
            for part in _parts(batch, config.accumulate, world):
                teaching.fill(part)
            done += batch.whole
            told(done, images)
            if clock.must_stop(step):
                raise TrainingStopped(clock.reason(f"with {done:,} of {images:,} images in the teacher store"))


def _train_epoch(
    epoch: int,
    learners: Sequence[Learner],
    teaching: Teaching,
    loader: Loader,
    mixing: Mixing | None,
    config: TrainConfig,
    clock: "_Clock",
) -> None:
    """Train for the rest of an epoch, numbered from 0; who has taken a step already does not take it again."""
    done = min(learner.place for learner in learners)[1]
    clock.start()
    for step, batch in enumerate(loader, start=done):
        taught = [learner.place == (epoch, step) for learner in learners]
        active = [learner for learner, wanted in zip(learners, taught, strict=True) if wanted]
        batch = batch.to(active[0].device)
        if mixing is not None:  # by the generator of the batches, whose state is in every checkpoint
            batch = mixing(batch, loader.generator)
        parts = _parts(batch, config.accumulate, clock.world)
        for number, part in enumerate(parts, start=1):
            heard = teaching(part.inputs, taught, part.slot)
            for learner, wanted, teacher in zip(learners, taught, heard, strict=True):
                if wanted:
                    learner.backward(part, teacher, part.whole / batch.whole, last=number == len(parts))
        for learner in active:
            learner.update()
        at_end = step + 1 == len(loader)
        if (step + 1) % _CHECK_EVERY == 0 or at_end:
            clock.share(active)
            for learner in active:
                learner.check()
            if not at_end and clock.is_due():
                _save(active, loader, clock)
        if not at_end and clock.must_stop(step):
            for learner in active:
                learner.check()
            _save(active, loader, clock)
            raise TrainingStopped(
                clock.reason(f"after step {step + 1} of {len(loader)} of epoch {epoch + 1} of {config.epochs}")
            )


def _save(learners: Sequence[Learner], loader: Loader, clock: "_Clock") -> None:
    for learner in learners:
        learner.checkpoint(loader.state_dict())
    clock.saved()


def _parts(batch: Batch, parts: int, world: World) -> list[Batch]:
    """Cut a process's share of a batch in parts; each is this process's share of a part of the whole batch."""
    shares = [_sizes(share, parts) for share in world.part(batch.whole)]
    wholes = [sum(sizes) for sizes in zip(*shares, strict=True)]
    return [batch.part(number, parts, whole) for number, whole in enumerate(wholes)]


def _sizes(count: int, parts: int) -> list[int]:
    least, more = divmod(count, parts)
    return [least + (part < more) for part in range(parts)]


class _Clock:
    """What steps cost, when a checkpoint within an epoch is due, and whether it is time to stop.

    Args:
        checkpoint_seconds: age of a checkpoint at which the next is due; None: never.
        world: the processes; the main one's clock counts for all.
        stop: whether this process was asked to stop.
        device: on which processes tell each other so.
    """

    def __init__(
        self, checkpoint_seconds: float | None, world: World, stop: StopRequest | None, device: torch.device
    ) -> None:
        self.world = world
        self._stop, self._device = stop, device
        self._limit = checkpoint_seconds
        self._counted = self._saved = time.perf_counter()

    def start(self) -> None:
        """Count from now on."""
        self._counted = time.perf_counter()

    def share(self, learners: Sequence[Learner]) -> None:
        """Divide the time since it was last counted among those who took steps in it."""
        now = time.perf_counter()
        for learner in learners:
            learner.state.seconds += (now - self._counted) / len(learners)
        self._counted = now

    def is_due(self) -> bool:
        """Whether a checkpoint should be written now, the same on every process."""
        if self._limit is None:
            return False
        return bool(self.world.broadcast_object(time.perf_counter() - self._saved >= self._limit))

    def must_stop(self, step: int | None = None) -> bool:
        """Whether any process was asked to stop, the same on every process.

        Args:
            step: within the epoch; several processes, which must all stop after the same one, ask each other at every
                tenth only. None asks now.
        """
        if self._stop is None:
            return False
        if self.world.size == 1:
            return bool(self._stop)
        if step is not None and (step + 1) % _ASK_EVERY:
            return False
        return self.world.sum(torch.tensor(float(bool(self._stop)), device=self._device)).item() > 0

    def reason(self, place: str) -> str:
        """Return what to say of a training that stops at that place."""
        signal = self._stop.signal if self._stop else None
        return f"{signal or 'another process was asked to stop'} {place}; everything is saved, resume to go on"

    def saved(self) -> None:
        """Remember that there is a checkpoint; the time that it took is no step's."""
        self._saved = self._counted = time.perf_counter()


def _check_apart(trainees: Sequence[Trainee]) -> None:
    require(len(trainees) > 0, "no trainee: give at least one student to train")
    for what, remedy in (("student", "a copy"), ("distiller", "one of its own"), ("folder", "one of its own")):
        owned = [getattr(trainee, what) for trainee in trainees if getattr(trainee, what) is not None]
        keys = {each if isinstance(each, Path) else id(each) for each in owned}
        require(len(keys) == len(owned), f"two trainees have the same {what}: give each {remedy}")


def _check(trainee: Trainee, train_set: Source, resume: bool) -> None:
    name = type(trainee.distiller).__name__
    require(
        trainee.teacher is not None or not trainee.distiller.needs_teacher,
        f"{name} has no teacher: give one, or a distiller without",
    )
    item = train_set.task.item
    require(len(train_set) > 0, f"the training set has 0 {item}s; choose a set with {item}s")
    require(
        trainee.folder is not None or not resume,
        "resume is set but no folder: give the folder of the run to continue",
    )


def _seeds(seed: int, config: TrainConfig, world: World) -> Seeds:
    # Seeds drawn from one generator: seed + 1 would give one run the stream that another run uses otherwise.
    root = torch.Generator().manual_seed(seed)
    order, draws, dropout = torch.randint(2**62, (3,), generator=root).tolist()
    # Whatever the number of processes.
    pools = int(torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(order)))
    if world.is_main:
        return Seeds(seed, order, draws, dropout, pools)
    own_draws, own_dropout = torch.randint(2**62, (world.size, 2), generator=root)[world.rank].tolist()
    # Losses of the whole batch are computed alike on every process, so they have to draw alike.
    return Seeds(seed, order, own_draws if config.loss_scope == "local" else draws, own_dropout, pools)
