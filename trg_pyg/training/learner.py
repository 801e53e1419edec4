"""A student in training."""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from trg_pyg.batch import Batch, mask_of
from trg_pyg.data.base import Augmentation, Source
from trg_pyg.data.loading._epochs import LoaderState
from trg_pyg.data.loading.loader import Loader, make_loader
from trg_pyg.data.loading.pool import Pools
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.errors import InputError, require
from trg_pyg.metrics import OWN_HELDOUT, Metric, score_named
from trg_pyg.models._probe import Example
from trg_pyg.models.networks import Networks
from trg_pyg.models.normalize import Normalize
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import save_weights
from trg_pyg.step import Step
from trg_pyg.tasks.base import Groups
from trg_pyg.training.checkpoint import CheckpointNotWritten
from trg_pyg.training.class_balance import ClassBalance, bias_of
from trg_pyg.training.config import TrainConfig, autocast, without_off
from trg_pyg.training.distributed import World, average_buffers, sync_batchnorm, wrap
from trg_pyg.training.ema import WeightAverage
from trg_pyg.training.guard import Buffers, Silence, TrainingDiverged, bad_images, explain, gradient_norm
from trg_pyg.training.meter import Meter
from trg_pyg.training.metrics import evaluate, evaluating
from trg_pyg.training.modules import DistillationModule, compiled_sizes
from trg_pyg.training.optim import advance, build_optimizer, build_schedule, lr_factor, phase_starts
from trg_pyg.training.state import TrainingState
from trg_pyg.training.stream import GlobalStream
from trg_pyg.training.teaching import Heard

History = list[dict[str, float]]


class Progress(NamedTuple):
    """Where a training stands after a step.

    Attributes:
        epoch: of this step, from 1.
        step: within the epoch, from 1.
        steps: in an epoch.
        meter: running means of this epoch, over the images of this process; reading them waits for the device.
    """

    epoch: int
    step: int
    steps: int
    meter: Meter


@dataclass(frozen=True)
class Trainee:
    """What students that are trained on the same batches do not share.

    Attributes:
        student: trained in place, and moved to the device.
        distiller: its parameters train with the student's.
        teacher: frozen, and moved to the device; not run where the distiller needs none. Trainees whose teachers are
            one network, tapped as each of them needs it, share its forward passes.
        folder: where ``checkpoint.pt``, the ones before it and the student's weights go; None keeps nothing.
        identity: plain values by name that a checkpoint must agree on to be resumed, beside those of the training.
        on_step: called after each step.
        on_epoch: called with the metrics of each epoch, once its checkpoint is written; not for resumed epochs.
        probe: gives further metrics by name, each time that the student is evaluated: of the student, in evaluation
            mode, without gradients and with a global random state that is put back. It must not change the student.
            Of several processes, the main one alone asks it.
    """

    student: TappedModel
    distiller: Distiller
    teacher: TappedModel | None = None
    folder: Path | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    on_step: Callable[[Progress], None] | None = None
    on_epoch: Callable[[dict[str, float]], None] | None = None
    probe: Callable[[TappedModel], dict[str, float]] | None = None


class Seeds(NamedTuple):
    """Where the random streams of a process begin.

    Attributes:
        training: the number that all others come from.
        order: of the images and their augmentation; equal on all processes.
        draws: of the distiller; equal on all processes where losses see the whole batch.
        dropout: of the network.
        pools: of further streams of images; equal on all processes.
    """

    training: int
    order: int
    draws: int
    dropout: int
    pools: int = 0


class _Seen(NamedTuple):
    """What was computed of a part of a batch."""

    part: Batch
    losses: Losses
    running: dict[str, Tensor]


class Learner:
    """A student in training, from step to step and from epoch to epoch.

    Args:
        trainee: what is trained, and how it is told apart.
        train_set: the images.
        config: recipe of the training.
        seeds: of this process.
        device: where the networks run.
        world: the processes of the training.
        steps: in an epoch.
        keep_checkpoints: files that are kept, the last one included.
        pools: further images by name, of which the method takes what it asks for.
        augment: of the training images.
    """

    def __init__(
        self,
        trainee: Trainee,
        train_set: Source,
        config: TrainConfig,
        *,
        seeds: Seeds,
        device: torch.device,
        world: World,
        steps: int,
        keep_checkpoints: int = 1,
        pools: Mapping[str, Source] | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        self._keep, self._seed = keep_checkpoints, seeds.order
        self.trainee, self.config, self.device, self.world, self.steps = trainee, config, device, world, steps
        draws = torch.Generator().manual_seed(seeds.draws)
        self._task = train_set.task
        trainee.distiller.learn(self._task)
        trainee.distiller.pool_sizes = {name: len(source) for name, source in (pools or {}).items()}
        trainee.distiller.bind(train_set.targets.cpu(), draws)
        described = trainee.student.describe(train_set.example)
        self._score = score_named(self._task.score)
        trainee.distiller.extend(trainee.student)
        if config.sync_batchnorm:
            sync_batchnorm(trainee.student, device)
        module = DistillationModule(
            trainee.student,
            trainee.distiller,
            config.precision,
            world,
            config.loss_scope,
            compile_for=compiled_sizes(config, world),
        ).to(device)
        self._wrapped = wrap(module, world)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        shares = trainee.distiller.restarts
        self._restarts = phase_starts(config.epochs * steps, shares)[1:]
        if len(self._restarts) < len(shares):
            warnings.warn(
                f"{type(trainee.distiller).__name__}: too few steps ({config.epochs * steps}) for {len(shares) + 1} "
                f"phases, only the first {len(self._restarts) + 1} have any; train more epochs",
                stacklevel=2,
            )
        self._balance = ClassBalance(train_set.targets, described.num_classes, config, device)
        self._bias = bias_of(trainee.student, train_set.example) if config.adjust_after else None
        self._body = _body(trainee.student, train_set.example) if config.freeze_epochs else []
        of_body = [parameter for part in self._body for parameter in part.parameters(recurse=False)]
        self._body_parameters = [parameter for parameter in of_body if parameter.requires_grad]
        self._silence = Silence(trainee.distiller)
        self._buffers: Buffers | None = None
        self._seen: list[_Seen] = []
        optimizer = build_optimizer(module, config)
        self.state = TrainingState(
            identity=_identity(config, seed=seeds.training, train_images=len(train_set)) | trainee.identity,
            module=module,
            optimizer=optimizer,
            schedule=build_schedule(optimizer, config, steps, trainee.distiller.restarts),
            scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "fp16"),
            draws=draws,
            dropout=GlobalStream(seeds.dropout, device),
            pools=Pools(
                {name: pools[name] for name in trainee.distiller.pools if name in pools} if pools else {},
                config.batch_size,
                flip=augment is not None and augment.flip,
                seed=seeds.pools,
                device=device,
                parts=config.accumulate,
                rank=world.rank,
                world_size=world.size,
            ),
            average=WeightAverage(trainee.student, config.ema) if config.ema else None,
            world=world,
        )
        self._networks = Networks(trainee.student, trainee.teacher, lambda: autocast(device, config.precision))

    def meet(self, train_set: Source) -> None:
        """Let the method learn what it needs before the first step."""

        def batches() -> Loader:
            return make_loader(train_set, self.config.eval_batch_size, shuffle=False, device=self.device)

        told = self.trainee.distiller.meet(self._networks, batches, torch.Generator().manual_seed(self._seed))
        if self.world.is_main:  # of what each process did alike
            self.state.further += self._networks.passed
        self._networks.passed = 0
        if told:
            self.state.meter.update({name: torch.tensor(value) for name, value in told.items()}, weight=1)

    @property
    def _of_each(self) -> int:
        """Networks that see every image of a step once."""
        return 1 + self.trainee.distiller.needs_teacher

    @property
    def place(self) -> tuple[int, int]:
        """Epochs that are finished, and steps done of the next one."""
        return len(self.state.history), self.state.step

    def backward(self, part: Batch, teacher: Heard, share: float, last: bool) -> None:
        """Add the gradient of a part of a batch.

        Args:
            part: the part.
            teacher: the teacher's outputs for its images; for a method with views, what gives them for others.
            share: of the batch that the part is.
            last: whether it is the last part, after which processes exchange gradients.
        """
        state = self.state
        epochs, step = self.place
        progress = (epochs * self.steps + step) / (self.config.epochs * self.steps)
        wrapped = self._wrapped
        if not self._seen:
            self._keep_buffers()
        silent = wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) and not last else nullcontext()
        with silent, state.dropout.running():
            state.pools.begin(len(self._seen))
            told = Step(
                part.target,
                progress,
                state.draws,
                part.index,
                self._networks,
                pool=state.pools,
                lr=state.optimizer.param_groups[0]["lr"],
                soft=part.soft,
                smoothing=self.config.label_smoothing,
                prior=self._balance.prior,
                class_weights=self._balance.weights(epochs),
                inputs=part.inputs,
                mask=mask_of(part.inputs),
            )
            inputs, distiller = part.inputs, self.trainee.distiller
            if callable(teacher):
                inputs, rows = distiller.see(inputs, told)
                told, teacher = replace(told, rows=rows), teacher(inputs, len(part))
            wrapped.train()
            self._freeze()
            is_due = (epochs * self.steps + step + 1) % distiller.every == 0
            if not self._seen and is_due and distiller.learns_beside():
                distiller.before(part.inputs, told)
            losses, outputs = wrapped(inputs, teacher, told, part.whole)
            total = losses.total if share == 1 else losses.total * share
            state.scaler.scale(total).backward()
        running = self._task.running(outputs, part)
        if told.rows is not None:
            state.further += (sum(told.rows) - len(part)) * self._of_each
        state.further += self._networks.passed
        self._networks.passed = 0
        self._seen.append(_Seen(part, losses, running))

    @property
    def _is_frozen(self) -> bool:
        return len(self.state.history) < self.config.freeze_epochs

    def _freeze(self) -> None:
        """Put the body to evaluation mode while it is frozen, and leave its gradients out."""
        if self._is_frozen:
            for module in self._body:
                module.training = False
        # DDP waits for the gradients of all that had one when it was made; they are dropped before the step.
        if not isinstance(self._wrapped, DistributedDataParallel):
            for parameter in self._body_parameters:
                parameter.requires_grad_(not self._is_frozen)

    def update(self) -> None:
        """Take the step whose gradients are there, unless something of it is not finite.

        Raises:
            TrainingDiverged: it is not, and the recipe says to stop, or too many steps have been skipped already.
        """
        state, clip = self.state, self.config.grad_clip
        seen, self._seen = self._seen, []
        scaled = state.scaler.is_enabled()
        if self._is_frozen:
            for parameter in self._body_parameters:
                parameter.grad = None  # the optimiser leaves it alone, decay included
        if clip is not None:
            state.scaler.unscale_(state.optimizer)
            norm = clip_grad_norm_(self._parameters, clip)
        else:
            norm = torch.zeros(()) if scaled else self._gradient_norm()
        # Infinite gradients in fp16 are the scaler's to skip: it then lowers the scale. What the forward pass has
        # written stays then, since it is finite.
        watched = [each.losses.total.detach() for each in seen] + ([] if scaled else [norm])
        if self._are_finite(watched):
            state.scaler.step(state.optimizer)
            state.scaler.update()
            if state.average is not None:
                state.average.update(len(state.history) * self.steps + state.step)
            for part, losses, running in seen:
                state.meter.update({**losses.parts, "total": losses.total, **running}, weight=len(part))
                self._silence.step(losses.parts)
        else:
            self._leave_out(seen, norm.item())
        advance(state.schedule)
        state.optimizer.zero_grad()
        state.step += 1
        if len(state.history) * self.steps + state.step in self._restarts:
            state.optimizer.state.clear()
        if self.trainee.on_step is not None:
            self.trainee.on_step(Progress(len(state.history) + 1, state.step, self.steps, state.meter))

    def _keep_buffers(self) -> None:
        self._buffers = Buffers(self.trainee.student, self.trainee.distiller)

    def _gradient_norm(self) -> Tensor:
        return gradient_norm(self._parameters)

    def _are_finite(self, values: list[Tensor]) -> bool:
        # The one question to the device in a step. To put it off, all changes of weights, buffers, the running mean and
        # the optimiser's state, part of which PyTorch keeps on the CPU, would have to be conditional on the device, and
        # the images of a bad step, which a message names, would be gone.
        bad = ~torch.stack([value.to(self.device, torch.float32) for value in values]).isfinite().all()
        # Every process has to take the step, or none.
        return not self.world.sum(bad).item()

    def _leave_out(self, seen: "list[_Seen]", norm: float) -> None:
        """Undo what a step has changed before it is taken, and say why; or stop.

        Weights, optimiser, buffers and memory banks are then as before the step. Its random numbers are used up and its
        place in the schedule is taken, so that the steps after it are those of a training that took it.
        """
        assert self._buffers is not None
        self._buffers.restore()
        state, config = self.state, self.config
        parts = {name: value.item() for each in seen for name, value in each.losses.parts.items()}
        parts["total"] = sum(each.losses.total.item() for each in seen)
        what = explain(parts, norm, self._bad_images([each.part for each in seen]))
        place = f"{type(self.trainee.distiller).__name__}: in epoch {len(state.history) + 1} step {state.step + 1}"
        state.skipped += 1
        if config.nonfinite == "skip" and state.skipped <= config.max_skipped:
            warnings.warn(
                f"{place} {what or 'another process has numbers that are not finite'}: step skipped, "
                f"{state.skipped} of at most {config.max_skipped}",
                stacklevel=2,
            )
            return
        limit = "" if config.nonfinite == "stop" else f", after {config.max_skipped} skipped steps"
        raise TrainingDiverged(
            f"{place} {what or 'another process has numbers that are not finite'}{limit}: lower train.lr, set "
            "train.grad_clip, or use train.precision bf16 or fp32; the step was not taken"
        )

    @torch.no_grad()
    def _bad_images(self, parts: list[Batch]) -> dict[str, list[int]]:
        """Return the images of a step whose outputs are not finite, by network."""
        found: dict[str, list[int]] = {}
        for name, network in (("student", self.trainee.student), ("teacher", self.trainee.teacher)):
            if network is None or (name == "teacher" and not self.trainee.distiller.needs_teacher):
                continue
            modes = {module: module.training for module in network.modules()}
            network.eval()
            found[name] = [image for part in parts for image in bad_images(network(part.inputs), part.index)]
            for module, mode in modes.items():
                module.training = mode
        return found

    def check(self) -> None:
        """Raise :class:`TrainingDiverged` where the loss of the epoch under way is not finite."""
        self._check_finite("total", self.state.meter.means(self.world))

    def checkpoint(self, loader: LoaderState) -> None:
        """Save the state within an epoch; raise :class:`TrainingDiverged` where the weights are not finite."""
        if self.trainee.folder is not None:
            # The last loss was that of the weights before their step.
            norms = torch.stack([parameter.detach().norm() for parameter in self.state.module.parameters()])
            name = "norm of the weights"
            self._check_finite(name, {name: norms.norm().item()})
            self._average_buffers()
            try:
                self._save(self.trainee.folder, loader)
            except CheckpointNotWritten as error:
                self._go_on(error)

    def _save(self, folder: Path, loader: LoaderState) -> None:
        self.state.save(folder / "checkpoint.pt", loader, self._keep)

    def _go_on(self, error: OSError) -> None:
        # The training is worth more than its latest checkpoint; the next one may find space again.
        warnings.warn(f"{error}: training goes on, and the checkpoint before stays; free some space", stacklevel=2)

    def resume(self) -> LoaderState:
        """Go on from the folder's checkpoint and return the state of the batches."""
        assert self.trainee.folder is not None
        return self.state.load(self.trainee.folder / "checkpoint.pt")

    def _check_finite(self, watched: str, metrics: dict[str, float]) -> None:
        if math.isfinite(metrics[watched]):
            return
        bad = ", ".join(f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value))
        raise TrainingDiverged(
            f"{type(self.trainee.distiller).__name__}: in epoch {len(self.state.history) + 1} {bad}: lower train.lr, "
            "set train.grad_clip, or use train.precision bf16 or fp32"
        )

    def finish_epoch(
        self,
        train_images: int,
        test_set: Source,
        shots: Groups | None,
        loader: LoaderState,
        heldout: Source | None = None,
    ) -> None:
        """Evaluate the student where that is due, enter the epoch in the history and save it.

        Args:
            train_images: of the epoch.
            test_set: evaluated on.
            shots: groups of classes to report.
            loader: state of the batches.
            heldout: evaluated on too; the best epoch is chosen by it.
        """
        started = time.perf_counter()
        state, config, world = self.state, self.config, self.world
        done = len(state.history)
        lr = config.lr * lr_factor(done * self.steps, config, self.steps, self.trainee.distiller.restarts)
        metrics: dict[str, float] = {"epoch": done + 1, "lr": lr}
        metrics |= _named("train", state.meter.means(world))
        for sentence in self._silence.report():
            name = type(self.trainee.distiller).__name__
            warnings.warn(
                f"{name}: in epoch {done + 1} {sentence}: it teaches nothing; check its weight, and whether a graph or "
                "a projection is cut off",
                stacklevel=2,
            )
        metrics["images_per_second"] = train_images / state.seconds
        if heldout is None and "heldout" in state.pools:
            metrics[OWN_HELDOUT] = state.pools.images("heldout")
        metrics["ms_per_step"] = 1000 * state.seconds / self.steps
        further = sum(world.gather_objects(state.further))
        metrics["passes"] = self._of_each + further / train_images
        self._average_buffers()
        if (done + 1) % config.eval_every == 0 or done + 1 == config.epochs:
            student = self.trainee.student
            how = config.precision, self.device, world
            with self._as_used():
                metrics |= _named("test", evaluate(student, test_set, config.eval_batch_size, shots, *how))
                if heldout is not None:
                    metrics |= _named("heldout", evaluate(student, heldout, config.eval_batch_size, None, *how))
                self._check_finite("test/loss", metrics)
                metrics |= self._probed()
        metrics["seconds"] = state.seconds + time.perf_counter() - started
        metrics |= _best(self._score, metrics, state.history)
        state.history.append(metrics)
        state.step, state.seconds, state.meter, state.further = 0, 0.0, Meter(), 0
        folder = self.trainee.folder
        if folder is not None:
            try:
                if world.is_main:
                    with self._as_used():
                        _save_weights(state, folder, self._score)
                # The checkpoint comes last: where it says that an epoch is done, that epoch's weights are there too.
                self._save(folder, loader)
            except OSError as error:
                if done + 1 == config.epochs:
                    raise InputError(
                        f"cannot write the last epoch to {folder} ({error}); free some space and resume, the last "
                        "checkpoint is there"
                    ) from error
                self._go_on(error)
        if self.trainee.on_epoch is not None:
            with self._as_used():
                self.trainee.on_epoch(dict(metrics))

    def finish(self) -> None:
        """Leave the student with the weights that were saved."""
        if self.state.average is not None:
            self.state.average.keep()
        if self._bias is not None:
            self._balance.take_off(self._bias)

    @contextmanager
    def _as_used(self) -> Iterator[None]:
        """Let the student have the weights that are evaluated and saved."""
        with ExitStack() as stack:
            if self.state.average is not None:
                stack.enter_context(self.state.average.shown())
            if self._bias is not None:
                stack.enter_context(self._balance.taken_off(self._bias))
            yield

    def _average_buffers(self) -> None:
        average_buffers(self.state.module, self.world)
        if self.state.average is not None and self.world.size > 1:
            with self._as_used():
                average_buffers(self.trainee.student, self.world)

    @torch.no_grad()
    def _probed(self) -> dict[str, float]:
        probe, student, device = self.trainee.probe, self.trainee.student, self.device
        if probe is None:
            return {}
        found: dict[str, float] = {}
        if self.world.is_main:
            # Whatever it draws, the caller's random state is not its business.
            with evaluating(student), torch.random.fork_rng([device] if device.type == "cuda" else []):
                found = probe(student)
        return self.world.broadcast_object(found)


def _body(student: TappedModel, example: Example) -> list[nn.Module]:
    """Return all modules of a network but its classifier and what is in that, those without trained parameters too."""
    student.describe(example)
    require(
        student.classifier is not None,
        f"train.freeze_epochs: the classifier of {type(student.model).__name__} is not known, so nothing would learn; "
        "declare it as classifier_path, or set train.freeze_epochs=0",
    )
    head = set(student.model.get_submodule(str(student.classifier)).modules())
    return [module for module in student.model.modules() if module not in head]


def _identity(config: TrainConfig, **others: int) -> dict[str, Any]:
    return {**{f"train.{name}": value for name, value in without_off(asdict(config)).items()}, **others}


def _named(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}


def _best(score: Metric, metrics: dict[str, float], history: History) -> dict[str, float]:
    tested = [epoch for epoch in [*history, metrics] if score.key in epoch]
    if not tested:
        return {}
    heldout = score.of("heldout")
    best = (heldout if heldout.key in tested[-1] else score).best(tested)
    return {score.of("best").key: best[score.key], "best/epoch": best["epoch"]}


def _save_weights(state: TrainingState, folder: Path, score: Metric) -> None:
    metrics, normalize = state.history[-1], state.module.student.normalize
    network = state.module.distiller.deploy(state.module.student.model)
    about = {"epoch": str(metrics["epoch"])}
    if isinstance(normalize, Normalize):
        about |= {name: json.dumps(getattr(normalize, name).flatten().tolist()) for name in ("mean", "std")}
    if score.key in metrics:
        about["accuracy"] = f"{metrics[score.key]:.2f}"
    if metrics.get("best/epoch") == metrics["epoch"]:
        save_weights(network, folder / "best.safetensors", about)
    save_weights(network, folder / "last.safetensors", about)
