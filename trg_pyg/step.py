"""What a loss may know of a training step beside the outputs of the two networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trg_pyg.batch import Batch, Inputs
from trg_pyg.errors import InputError, require
from trg_pyg.models.networks import Networks


@dataclass(frozen=True)
class Share:
    """The images of a batch that one of several processes has, where each computes the rows of its own images.

    What compares rows with all others is then given its own rows and gathers the others. A loss is the mean over the
    own rows, and in place of a sum over all rows it is that mean times their number: the mean of the shares' losses,
    weighted by their images, is the loss of the batch.

    Attributes:
        first: images of the batch that come before.
        last: these and the own ones.
        batch: images of the batch.
        gather: puts the processes' rows together, ``[own images * n, ...]`` to ``[batch * n, ...]``, in the order of
            the images. The gradients that all processes have of a row come back to the process that has it, so every
            process has to gather the same.
    """

    first: int
    last: int
    batch: int
    gather: Callable[[Tensor], Tensor]

    def rows(self, of: int) -> slice:
        """Return which of that many rows, as many of each image of the batch, are the own ones."""
        each = of // self.batch
        return slice(self.first * each, self.last * each)


@dataclass(frozen=True)
class Step:
    """One training step on a batch of B images.

    Attributes:
        target: the labels ``[B, ...]``: of classes int64 ``[B]``.
        progress: position in the training, from 0 (first step) to 1 (end).
        generator: CPU generator for every random draw that a loss makes; the global generator is never used.
        index: position of each image in the training set, ``[B]``, int64; only memory banks need it.
        networks: what a method may ask of the two networks; ``None`` where losses are computed of outputs alone.
        rows: images of each view that the networks were given, the labelled ones first; ``None`` where they were given
            the B images, see :meth:`~trg_pyg.distillers.base.Distiller.views`.
        pool: a batch of each further stream that the method takes, by name, see :class:`~trg_pyg.data.loading.pool`;
            without those that are not there.
        lr: learning rate of the step.
        soft: shares of the classes in each image ``[B, classes]``, where images are mixed; ``target`` is then the
            class of the one of the two that has its place in the batch.
        smoothing: share of the labels that cross-entropy gives evenly to all classes.
        prior: what cross-entropy adds to the logits of each class ``[classes]``; ``None`` for nothing.
        class_weights: of the images of each class in cross-entropy ``[classes]``; ``None`` where all have 1.
        inputs: what the networks were given for the B images, before views; ``None`` where losses are computed of
            outputs alone.
        mask: which tokens of each text are there and no padding, bool ``[B, n]``; ``None`` where all are.
        share: which images of a larger batch these are, for a method that is computed by rows
            (:attr:`~trg_pyg.distillers.base.Distiller.by_rows`); ``None`` where they are the batch.

    Raises:
        InputError: there is not one position an image, or the progress is not in [0, 1]; ``soft`` has
            other images.
    """

    target: Tensor
    progress: float
    generator: torch.Generator
    index: Tensor | None = None
    networks: Networks | None = None
    rows: tuple[int, ...] | None = None
    pool: Mapping[str, Batch] = field(default_factory=dict)
    lr: float = 0.0
    soft: Tensor | None = None
    smoothing: float = 0.0
    prior: Tensor | None = None
    class_weights: Tensor | None = None
    inputs: Inputs | None = None
    mask: Tensor | None = None
    share: Share | None = None

    def __post_init__(self) -> None:
        require(
            self.target.dim() >= 1,
            "target of no dimension: give the label of each image, [B, ...]",
        )
        require(
            self.index is None or (self.index.shape == self.target.shape[:1] and self.index.dtype == torch.int64),
            f"index {None if self.index is None else tuple(self.index.shape)} for target {tuple(self.target.shape)}: "
            "give the position of each image in the training set, int64 [B]",
        )
        require(
            self.soft is None or (self.soft.shape[:1] == self.target.shape[:1] and self.soft.is_floating_point()),
            f"soft {None if self.soft is None else tuple(self.soft.shape)} for target {tuple(self.target.shape)}: "
            "give the shares of the classes in each image, [B, classes]",
        )
        require(0 <= self.progress <= 1, f"progress={self.progress}: it is a share of the training, from 0 to 1")

    @property
    def classes(self) -> Tensor | None:
        """The labels, int64 ``[B]``, where they are one class an image."""
        return self.target if self.target.dim() == 1 and self.target.dtype == torch.int64 else None

    def split(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """Return the rows of each view, of a tensor ``[R, ...]`` that a network gave for all of them together."""
        return outputs.split(self.rows or (len(self.target),))

    def labelled(self, outputs: Tensor) -> Tensor:
        """Return the rows that the labels belong to, ``[B, ...]``."""
        return outputs if self.rows is None else self.split(outputs)[0]

    def noise(self, shape: Sequence[int]) -> Tensor:
        """Return uniform draws in [0, 1) for each image, float32 ``[B, *shape]`` on the CPU.

        One number comes from the generator, the rest from it and the image's position in the training set: an image has
        the same noise on any number of processes, whatever part of the batch it is in. Asking for the positions waits
        for a GPU.

        Raises:
            InputError: the positions are not known.
        """
        if self.index is None:
            raise InputError("noise of each image needs its position in the training set: give Step(index=...)")
        seed, own = int(torch.randint(2**32, (), generator=self.generator)), torch.Generator()
        # Generators of PyTorch look at 32 bits of a seed; an odd factor gives each image others.
        seeds = [(seed + 0x9E3779B1 * place) % 2**32 for place in self.index.tolist()]
        return torch.stack([torch.rand(tuple(shape), generator=own.manual_seed(each)) for each in seeds])

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits ``[B, classes]`` with the labels, mixed or smoothed as they are.

        It is that of ``logits + prior``, and the mean over the images of what ``class_weights`` multiply.
        """
        labels = self.target if self.soft is None else self.soft
        logits = logits.float() if self.prior is None else logits.float() + self.prior
        if self.class_weights is None:
            return cross_entropy(logits, labels, label_smoothing=self.smoothing)
        # The mean of PyTorch is that over weights, which parts of a batch have not in common.
        weighted = cross_entropy(logits, labels, self.class_weights, label_smoothing=self.smoothing, reduction="sum")
        return weighted / len(logits)

    @property
    def alters_labels(self) -> str:
        """What makes cross-entropy another one than that of labels and logits alone, but for mixed images."""
        named = [f"Step.smoothing = {self.smoothing}"] if self.smoothing else []
        named += [f"Step.{name}" for name in ("prior", "class_weights") if getattr(self, name) is not None]
        return " and ".join(named)

    def need_networks(self, method: str) -> Networks:
        """Return the networks, or say that the method needs them."""
        if self.networks is None:
            raise InputError(f"{method} asks the networks themselves: give Step(networks=Networks(student, teacher))")
        return self.networks
