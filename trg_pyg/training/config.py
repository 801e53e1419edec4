"""How a network is trained: everything that a run chooses apart from data, networks and method."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import torch

from trg_pyg.errors import require
from trg_pyg.runs import LATER
from trg_pyg.training.distributed import LossScope

OptimizerName = Literal["SGD", "AdamW"]
ScheduleName = Literal["multistep", "cosine", "onecycle", "constant"]
Precision = Literal["fp32", "bf16", "fp16"]
NonFinite = Literal["stop", "skip"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# Of torchvision's RandAugment, which has 31 magnitudes from 0 on.
_MOST_MAGNITUDE = 30
# They change no result: when a training is given up, and how many images are evaluated at once.
_NO_RESULT = ("max_skipped", "eval_batch_size")
# They change one only with a value of another option.
_USED_WITH = {
    "momentum": ("optimizer", "SGD"),
    "milestones": ("schedule", "multistep"),
    "gamma": ("schedule", "multistep"),
}

_CHOICES = (
    *(("optimizer", OptimizerName), ("schedule", ScheduleName)),
    *(("precision", Precision), ("loss_scope", LossScope), ("nonfinite", NonFinite)),
)


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training; the defaults are RepDistiller's CIFAR-100 protocol.

    Args:
        epochs: passes over the training set, at least 1.
        batch_size: training images a step, over all processes; the last batch of an epoch may be smaller.
        accumulate: parts that a process computes its images of a step in, one after another, at least 1; for less
            memory. Losses that compare images see those of one part; batch norms too.
        optimizer: ``"SGD"``, or ``"AdamW"`` with PyTorch's betas (0.9, 0.999).
        lr: peak learning rate, above 0; what the schedule multiplies.
        momentum: of SGD, in [0, 1); AdamW does not use it.
        nesterov: Nesterov's form of the momentum; SGD only.
        weight_decay: at least 0. SGD applies it to every parameter, AdamW to none of the one-dimensional ones.
        schedule: learning rate over the steps: ``"multistep"`` drops it at ``milestones``, ``"cosine"`` lets it fall
            to 0, ``"onecycle"`` lets it rise from lr / 25 to lr and fall to lr / 250,000, ``"constant"`` keeps it.
        milestones: epochs after which ``"multistep"`` multiplies the rate by ``gamma``: increasing, in [1, epochs).
        gamma: factor at each milestone, in (0, 1].
        warmup_epochs: epochs of linear warm-up, fractions allowed, below ``epochs``; 0 for none. With ``"onecycle"``
            it is the length of the rise, and 0 stands for PyTorch's default share of 0.3.
        grad_clip: largest norm of all gradients together, above 0; None leaves gradients as they are.
        precision: of both networks' forward passes; losses and weights are float32 always.
        nonfinite: what follows a step of NaN or infinite losses or gradients, which is never taken:
            ``"stop"`` the training, or ``"skip"`` the step, which leaves no trace in weights, running statistics and
            memory banks. With fp16, infinite gradients lower the loss scale instead.
        max_skipped: steps of a training to skip before it is stopped after all, at least 0.
        freeze_epochs: epochs at the start in which of the student only the classifier learns. The rest stays as it is,
            running statistics included: a linear probe, before all of it is trained, at most ``epochs``. For a network
            that begins with pretrained weights; what the method trains beside it learns throughout.
        mixup: mix pairs of images, by shares of Beta(mixup, mixup). Their labels have the same shares; published from
            0.1 to 1. Pixels are rounded to whole values. Here and in what follows, 0 and false are off.
        cutmix: paste a box of another image, of Beta(cutmix, cutmix). The labels have the shares of the area; published
            as 1. With ``mixup``, each batch takes one of the two, by chance.
        randaugment: magnitude of RandAugment on each image, in [0, 30]. It does two operations; published as 9.
        trivialaugment: TrivialAugment on each image. It does one operation, of a magnitude drawn at random.
        erasing: probability of a black box in an image, in [0, 1]. It covers 2 to 33 % of the area.
        views: fixed views of an image, of which an epoch shows one. Crops, flips and what is above are drawn once and
            for all for each, the same in every training, so that a teacher's outputs for them can be stored; mixed
            images have a partner and shares of their own. 0 draws new ones each time.
        label_smoothing: share of the labels given evenly to all classes. Of those of cross-entropy, in [0, 1).
        balanced_sampling: how far an epoch evens classes out, in [0, 1]. Its images are drawn with replacement, so
            that a class of n has a share of them proportional to n^(1 - balanced_sampling): 1 is class-balanced
            sampling, 0.5 square-root sampling; 0 takes every image once.
        logit_adjustment: weight of log class shares in cross-entropy. It is that of z + weight log(share of
            each class), so that small classes are not put last; 1 is balanced softmax. Terms of distillation compare
            logits as they are.
        adjust_after: take them off the trained network's logits instead. Cross-entropy is as ever, and the bias of the
            classifier that is evaluated and saved is less by them.
        effective_number: beta of class weights in cross-entropy, in [0, 1). They are proportional to
            (1 - beta) / (1 - beta^n) for n images, and 1 in the mean over images; published as 0.9999.
        deferred_epochs: epochs before these weights begin; published as 160 of 200.
        ema: decay of a running mean of the student's weights. In [0, 1), and smaller in the first steps. The mean is
            what is evaluated, saved and returned; published as 0.999 and more.
        round_teacher: round a teacher's outputs to float16. Storing them takes half; up to 65,504.
        compile: compile both networks, and what a method compares, with torch.compile, for full batches; a C++
            compiler is needed on a CPU. Results differ by rounding. It takes a few minutes before the first step.
        deterministic: use deterministic algorithms only, on a GPU too. The same training twice then gives the same
            weights to the bit; slower. On a CPU they are the same anyway. An operation without such an algorithm is
            refused in the first step.
        channels_last: keep the weights of 2-d convolutions channels last, which is faster; results differ by rounding.
        loss_scope: what losses that compare images see on several processes: the ``"global"`` batch, as one process
            would (each process the rows of its own images, where the method can), or each process its ``"local"``
            share.
        sync_batchnorm: batch norms of the student see the batch of all processes; on GPUs only.
        eval_batch_size: test images a step.
        eval_every: epochs between two evaluations on the test split, at least 1; the last epoch always has one.

    Raises:
        InputError: a value outside its range, or options that contradict each other.
    """

    epochs: int = 240
    batch_size: int = 64
    accumulate: int = 1
    optimizer: OptimizerName = "SGD"
    lr: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: ScheduleName = "multistep"
    milestones: list[int] = field(default_factory=lambda: [150, 180, 210])
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    grad_clip: float | None = None
    precision: Precision = "fp32"
    nonfinite: NonFinite = "stop"
    max_skipped: int = 10
    freeze_epochs: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    randaugment: int = 0
    trivialaugment: bool = False
    erasing: float = 0.0
    views: int = 0
    label_smoothing: float = 0.0
    balanced_sampling: float = 0.0
    logit_adjustment: float = 0.0
    adjust_after: bool = False
    effective_number: float = 0.0
    deferred_epochs: int = 0
    ema: float = 0.0
    round_teacher: bool = False
    compile: bool = False
    deterministic: bool = False
    channels_last: bool = True
    loss_scope: LossScope = "global"
    sync_batchnorm: bool = False
    eval_batch_size: int = 256
    eval_every: int = 1

    def __post_init__(self) -> None:
        for name, choices in _CHOICES:
            self._check(name, getattr(self, name) in get_args(choices), f"choose one of {', '.join(get_args(choices))}")
        for name in ("epochs", "batch_size", "accumulate", "eval_batch_size", "eval_every"):
            value = getattr(self, name)
            self._check(name, isinstance(value, int) and value >= 1, "give a whole number of at least 1")
        skipped = self.max_skipped
        self._check("max_skipped", isinstance(skipped, int) and skipped >= 0, "give a whole number of at least 0")
        frozen = self.freeze_epochs
        self._check(
            "freeze_epochs",
            isinstance(frozen, int) and 0 <= frozen <= self.epochs,
            f"give a whole number from 0 to train.epochs = {self.epochs}",
        )
        self._check("lr", 0 < self.lr < math.inf, "give a positive number")
        self._check("momentum", 0 <= self.momentum < 1, "give a number from 0 to below 1")
        self._check("weight_decay", 0 <= self.weight_decay < math.inf, "give 0 or a positive number")
        self._check("gamma", 0 < self.gamma <= 1, "give a number above 0 and at most 1")
        self._check(
            "warmup_epochs", 0 <= self.warmup_epochs < self.epochs, f"give 0 or less than train.epochs = {self.epochs}"
        )
        for name in ("mixup", "cutmix"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "give 0 (off) or a positive number")
        for name in ("label_smoothing", "ema", "effective_number"):
            self._check(name, 0 <= getattr(self, name) < 1, "give a number from 0 (off) to below 1")
        self._check("balanced_sampling", 0 <= self.balanced_sampling <= 1, "give a number from 0 (off) to 1")
        self._check("logit_adjustment", 0 <= self.logit_adjustment < math.inf, "give 0 (off) or a positive number")
        adjusted = not self.adjust_after or self.logit_adjustment > 0
        self._check("adjust_after", adjusted, "needs train.logit_adjustment above 0")
        deferred = self.deferred_epochs
        self._check(
            "deferred_epochs",
            isinstance(deferred, int) and 0 <= deferred < self.epochs,
            f"give a whole number from 0 to below train.epochs = {self.epochs}",
        )
        weighted = not deferred or self.effective_number > 0
        self._check("deferred_epochs", weighted, "needs the weights that begin then, train.effective_number above 0")
        self._check("erasing", 0 <= self.erasing <= 1, "give a probability, from 0 (off) to 1")
        self._check("views", isinstance(self.views, int) and self.views >= 0, "give 0 (off) or a whole number")
        magnitude = self.randaugment
        self._check(
            "randaugment",
            isinstance(magnitude, int) and 0 <= magnitude <= _MOST_MAGNITUDE,
            f"give a whole number from 0 (off) to {_MOST_MAGNITUDE}",
        )
        self._check("trivialaugment", not (self.trivialaugment and magnitude), "it takes the place of randaugment")
        clip = self.grad_clip
        self._check("grad_clip", clip is None or 0 < clip < math.inf, "give a positive number, or null for no clipping")
        if self.nesterov:
            usable = self.optimizer == "SGD" and self.momentum > 0
            self._check("nesterov", usable, "needs train.optimizer SGD and train.momentum above 0")
        if self.schedule == "multistep":
            self._check_milestones()

    @property
    def mixes(self) -> str:
        """The options that give an image several classes, with their values; empty where none does."""
        return self._on("mixup", "cutmix")

    @property
    def balances(self) -> str:
        """The options that make cross-entropy another one for each class, with their values; empty where none does."""
        return self._on("logit_adjustment", "effective_number")

    @property
    def alters_labels(self) -> str:
        """The options by which cross-entropy is not that of one-hot labels and logits alone, but for mixed images."""
        adjusted = () if self.adjust_after else ("logit_adjustment",)
        return self._on("label_smoothing", *adjusted, "effective_number")

    def _on(self, *names: str) -> str:
        return " and ".join(f"train.{name} = {getattr(self, name)}" for name in names if getattr(self, name))

    def _check_milestones(self) -> None:
        steps = self.milestones
        inside = all(1 <= epoch < self.epochs for epoch in steps)
        remedy = f"give epochs from 1 to below train.epochs = {self.epochs}, or another train.schedule"
        self._check("milestones", inside, remedy)
        increasing = all(a < b for a, b in pairwise(steps))
        self._check("milestones", increasing, "give increasing epochs")

    def _check(self, name: str, condition: bool, remedy: str) -> None:
        require(condition, f"train.{name} = {getattr(self, name)!r}: {remedy}")


def without_off(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a training by which it is told apart from others.

    An option that came later and is off, as in every training before it, is not among them: those are still known. Nor
    is one that changes no result, or that nothing reads beside the others.

    Args:
        options: of a :class:`TrainConfig` by name, as plain values.
    """
    idle = {name for name, (other, value) in _USED_WITH.items() if options.get(other, value) != value}
    idle |= {*_NO_RESULT, *(name for name in LATER if not options.get(name))}
    return {name: value for name, value in options.items() if name not in idle}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network runs on ``device``; with ``"fp32"`` it changes nothing."""
    return torch.autocast(device.type, dtype=_DTYPES.get(precision), enabled=precision != "fp32")
