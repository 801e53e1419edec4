"""The two sides of a distillation: what is trained, and what is not."""

from collections.abc import Iterator, Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from trg_pyg.batch import Inputs, device_of
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.divergences.memory_bank import MemoryBank
from trg_pyg.divergences.pair_memory import PairMemory
from trg_pyg.divergences.queue import VectorQueue
from trg_pyg.errors import require
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.step import Share, Step
from trg_pyg.training.compiled import CompiledLosses, CompiledNetwork
from trg_pyg.training.config import Precision, TrainConfig, autocast
from trg_pyg.training.distributed import SINGLE_PROCESS, LossScope, World


class DistillationModule(nn.Module):
    """Student and distiller as one module, so that one optimiser, one checkpoint and one DDP hold both.

    Of several processes, each runs the networks on its share of a batch. With ``"local"``, and where the distiller's
    loss is a mean over images anyway (:attr:`~trg_pyg.distillers.base.Distiller.per_image`), each computes the loss of
    its own share. With the scope ``"global"``, losses and gradients are those of one process, whatever the method
    compares: by rows where the distiller can (:attr:`~trg_pyg.distillers.base.Distiller.by_rows`), each process those
    of its own images among all; else the outputs of all shares are put together, and every process computes the loss
    of the whole batch.

    Gradients are right once :func:`~trg_pyg.training.distributed.wrap` has averaged them over the processes.

    Args:
        student: the network that learns.
        distiller: its losses are computed in float32, whatever the precision of the networks.
        precision: of the student's forward pass.
        world: the processes that train it.
        loss_scope: what the loss sees of a batch: all of it, or the process's share; see :func:`check_loss_scope`.
        compile_for: numbers of images for which the student, and what the distiller compares, are compiled; none
            leaves them as they are.
    """

    def __init__(
        self,
        student: TappedModel,
        distiller: Distiller,
        precision: Precision = "fp32",
        world: World = SINGLE_PROCESS,
        loss_scope: LossScope = "global",
        compile_for: Set[int] = frozenset(),
    ) -> None:
        super().__init__()
        self.student = student
        self._compiled = CompiledNetwork(student, compile_for) if compile_for else None
        self._losses = CompiledLosses(distiller, compile_for) if compile_for else None
        self.distiller = distiller
        self.precision = precision
        self.world = world
        self.loss_scope = loss_scope

    def forward(
        self, images: Inputs, teacher: Outputs | None, step: Step, global_batch: int | None = None
    ) -> tuple[Losses, Outputs]:
        """Return the losses of a batch and what the student says of its labelled rows, float32, detached.

        Of several processes, everything is given for the process's own share of a batch, and the outputs are those of
        the share. The losses are those of the whole batch, alike on every process, or those of the share; each way
        their mean over processes, weighted by the images of the shares, is what one process would have found.

        Args:
            images: uint8 ``[B, C, H, W]``, or what else the networks take; of a method with views, all their rows, and
                ``step.rows`` says whose.
            teacher: the teacher's float32 outputs for the same images; None if the distiller needs none.
            step: labels, progress and generator of this step. With the scope ``"global"`` the generators of all
                processes must be in the same state.
            global_batch: images of the whole batch, of all processes; needed where there are several.

        Raises:
            InputError: of several processes, the images are not this one's share of ``global_batch``, or there are
                fewer images than processes.
        """
        shares = self._shares(len(step.target), global_batch)
        with autocast(device_of(images), self.precision):
            compiled = self._compiled
            outputs = (compiled(images, len(step.target)) if compiled else self.student(images)).in_float32()
        share = self._share(step, shares)
        if share is not None:
            step = replace(step, share=share)
        # What processes exchange is not compiled.
        with self._losses.running(len(step.target)) if self._losses and share is None else nullcontext():
            losses = self._compare(outputs, teacher, step, shares)
        return losses, Outputs(step.labelled(outputs.logits).detach(), ())

    def _compare(self, outputs: Outputs, teacher: Outputs | None, step: Step, shares: list[int]) -> Losses:
        if self.world.size == 1:
            return cast(Losses, self.distiller(outputs, teacher, step))
        if _apart(self.distiller, self.loss_scope) or step.share is not None:
            losses: Losses = self.distiller(outputs, teacher, step)
            if losses.total.requires_grad:
                # The mean over processes would count each share the same, whatever its size. The value stays.
                weight = len(step.target) * self.world.size / sum(shares)
                losses.total.register_hook(lambda grad: grad * weight)
            return losses
        views = self._views(step, shares)
        whole: Losses = self.distiller(
            self._whole(outputs, views),
            None if teacher is None else self._whole(teacher, views),
            self._whole_step(step, shares, views),
        )
        return whole

    def _shares(self, images: int, global_batch: int | None) -> list[int]:
        world = self.world
        if world.size == 1:
            return [images]
        shares = world.part(global_batch or 0)
        require(
            images == shares[world.rank],
            f"process {world.rank} of {world.size} was given {images} images of a batch of {global_batch}, its share "
            f"is {shares[world.rank]}: share the batch out with World.share, and give its size as global_batch",
        )
        _check_shares(sum(shares), world)
        return shares

    def _share(self, step: Step, shares: list[int]) -> Share | None:
        """Return this process's place in the batch, where the losses are computed by rows."""
        world, distiller = self.world, self.distiller
        if world.size == 1 or _apart(distiller, self.loss_scope) or not distiller.by_rows or step.rows is not None:
            return None
        first, own = sum(shares[: world.rank]), shares[world.rank]

        def gather(rows: Tensor) -> Tensor:
            return world.gather(rows, [share * (len(rows) // own) for share in shares], alike=False)

        return Share(first, first + own, sum(shares), gather)

    def _views(self, step: Step, shares: list[int]) -> list[list[int]]:
        """Return the rows of each process, of each view."""
        if step.rows is None:
            return [shares]
        return [list(rows) for rows in zip(*self.world.gather_objects(step.rows), strict=True)]

    def _whole(self, outputs: Outputs, views: list[list[int]]) -> Outputs:
        return cast(Outputs, GatheredOutputs(outputs, views, self.world))

    def _whole_step(self, step: Step, shares: list[int], views: list[list[int]]) -> Step:
        rows = None if step.rows is None else tuple(map(sum, views))
        soft = None if step.soft is None else self.world.gather(step.soft, shares)
        mask = None if step.mask is None else self.world.gather(step.mask.long(), shares).bool()
        step = replace(step, inputs=None, mask=mask)  # of the share alone
        if step.index is None or step.target.dim() > 1:
            target = self.world.gather(step.target, shares)
            index = None if step.index is None else self.world.gather(step.index, shares)
            return replace(step, target=target, index=index, rows=rows, soft=soft)
        both = self.world.gather(torch.stack([step.target, step.index], dim=1), shares)
        return replace(step, target=both[:, 0].contiguous(), index=both[:, 1].contiguous(), rows=rows, soft=soft)


class GatheredOutputs:
    """The :class:`~trg_pyg.models.taps.Outputs` of a whole batch, put together from the processes' shares.

    Each tensor is gathered when it is first asked for, so a method sends what it reads and nothing else. Every process
    must ask for the same tensors in the same order, which they do where they run the same code.

    Args:
        outputs: of this process's share.
        views: images of each process's share, of each view of a batch; most methods have one.
        world: the processes.
    """

    def __init__(self, outputs: Outputs, views: Sequence[Sequence[int]], world: World) -> None:
        self._logits = _Gathered([outputs.logits], views, world)
        # Looked at when somebody does: a store may have to compute it.
        self._embedding = lambda: None if outputs.embedding is None else _Gathered([outputs.embedding], views, world)
        self.features: Sequence[Tensor] = _Gathered(outputs.features, views, world)

    @property
    def logits(self) -> Tensor:
        """``[B, classes]`` of the whole batch."""
        return self._logits[0]

    @property
    def embedding(self) -> Tensor | None:
        """``[B, d]`` of the whole batch; None where the shares have none."""
        return None if self._gathered_embedding is None else self._gathered_embedding[0]

    @cached_property
    def _gathered_embedding(self) -> "_Gathered | None":
        return self._embedding()

    def __iter__(self) -> Iterator[Any]:
        # Outputs is a tuple of these three.
        return iter((self.logits, self.features, self.embedding))


class _Gathered(Sequence[Tensor]):
    """Shares of tensors as a sequence of whole tensors, each gathered once, when it is first asked for."""

    def __init__(self, own: Sequence[Tensor], views: Sequence[Sequence[int]], world: World) -> None:
        self._own, self._views, self._world = own, views, world
        self._whole: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._own)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...

    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        positions = range(len(self._own))[index]
        return self._at(positions) if isinstance(positions, int) else tuple(map(self._at, positions))

    def _at(self, position: int) -> Tensor:
        if position not in self._whole:
            # Kept for those who ask later, who may want a gradient where the first did not.
            with torch.enable_grad():
                own = self._own[position].split([shares[self._world.rank] for shares in self._views])
                whole = [self._world.gather(rows, shares) for rows, shares in zip(own, self._views, strict=True)]
                self._whole[position] = whole[0] if len(whole) == 1 else torch.cat(whole)
        return self._whole[position]


def check_loss_scope(distiller: Distiller, world: World, loss_scope: LossScope) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` where a distiller cannot work on shares of a batch; before training.

    Memory banks of several processes would each remember another part of the training set.
    """
    banks = any(isinstance(module, MemoryBank | PairMemory | VectorQueue) for module in distiller.modules())
    require(
        world.size == 1 or loss_scope == "global" or not banks,
        f"train.loss_scope = local on {world.size} processes: {type(distiller).__name__} keeps a memory bank, and each "
        "process would remember its own shares only; choose global",
    )


def least_images(distiller: Distiller, world: World, loss_scope: LossScope, batch: int) -> int:
    """Return how many images of a batch the distiller sees at once, at the least: the batch, or the smallest share.

    Args:
        distiller: compare its ``min_images`` with the result.
        world: the processes.
        loss_scope: what the loss sees of a batch.
        batch: images of the whole batch.

    Raises:
        InputError: a process would have no image.
    """
    _check_shares(batch, world)
    return world.part(batch)[-1] if _apart(distiller, loss_scope) else batch


def compiled_sizes(config: TrainConfig, world: World) -> frozenset[int]:
    """Return how many images this process computes at once in a full batch, its share or parts of it; none if eager."""
    if not config.compile:
        return frozenset()
    least, more = divmod(world.part(config.batch_size)[world.rank], config.accumulate)
    return frozenset({least, least + 1} if more else {least})


def _apart(distiller: Distiller, loss_scope: LossScope) -> bool:
    """Whether each process computes the loss of its own share."""
    return loss_scope == "local" or distiller.per_image


def _check_shares(batch: int, world: World) -> None:
    require(
        batch >= world.size,
        f"a batch of {batch} for {world.size} processes: each needs an image; choose another train.batch_size, which "
        "leaves a larger last batch, or fewer processes",
    )


class FrozenTeacher(nn.Module):
    """A teacher that cannot learn: eval mode always, no gradients, and no parameter that asks for one.

    Args:
        teacher: frozen in place.
        precision: of its forward pass.
        compile_for: numbers of images for which it is compiled; none leaves it as it is.
        rounded: whether its outputs are rounded to float16, so that keeping them takes half; up to 65,504.
    """

    def __init__(
        self,
        teacher: TappedModel,
        precision: Precision = "fp32",
        compile_for: Set[int] = frozenset(),
        rounded: bool = False,
    ) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self._compiled = CompiledNetwork(teacher, compile_for) if compile_for else None
        self.precision, self.rounded = precision, rounded
        self.eval()

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stay in eval mode, whatever ``mode``: statistics of the student's batches are not the teacher's."""
        return super().train(False)

    # Not inference_mode: its tensors cannot be saved for the backward pass of a loss that they take part in.
    @torch.no_grad()
    def forward(self, images: Inputs, labelled: int | None = None) -> Outputs:
        """Return the float32 outputs for images ``[R, C, H, W]``, uint8 or float in [0, 1].

        Args:
            images: the images.
            labelled: how many of them a batch counts, where there are further views of these.
        """
        # The caller still holds the network, maybe tapped in another way, and may have called its train().
        if self.teacher.training or self.teacher.model.training:
            self.teacher.eval()
        with autocast(device_of(images), self.precision):
            outputs: Outputs = self._compiled(images, labelled) if self._compiled else self.teacher(images)
        return outputs.in_float16().in_float32() if self.rounded else outputs.in_float32()
