"""What a training step is given of its data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from trg_pyg._transfer import can_look
from trg_pyg.errors import require

# What networks are given: of images one tensor [B, C, H, W], of texts several by name, each [B, ...].
Inputs = Tensor | Mapping[str, Tensor]


def changed(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return inputs with each of their tensors changed; what is no tensor stays."""
    if isinstance(inputs, Mapping):
        return {name: change(tensor) for name, tensor in inputs.items()}
    return change(inputs) if isinstance(inputs, Tensor) else inputs


def rows_of(inputs: Inputs) -> int:
    """Return how many items inputs are of."""
    return len(_first(inputs))


def device_of(inputs: Inputs) -> torch.device:
    """Return where inputs are."""
    return _first(inputs).device


def mask_of(inputs: Inputs) -> Tensor | None:
    """Return which places of each item are tokens and not padding, bool ``[B, n]``; ``None`` where all are.

    Inputs by name say so as ``attention_mask``, which is not 0 at tokens.
    """
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    return None if mask is None else mask != 0


@dataclass(frozen=True, eq=False)
class Batch:
    """One process's share of a batch, or of a part of one.

    Attributes:
        inputs: what the networks are given, ``[b, ...]``: of images uint8 ``[b, C, H, W]``. Several tensors of an item
            come by name, each ``[b, ...]``: of texts ``input_ids`` and ``attention_mask``.
        target: the labels ``[b, ...]``, of one class an item int64 ``[b]``.
        index: positions in the data set, int64 ``[b]``.
        whole: items of all processes' shares together.
        soft: shares of the classes in each item, ``[b, classes]``, where items are mixed.
        slot: a number for each item and what was done to it, int64 ``[b]``, always on the CPU: inputs of the same
            number are the same, whatever part of a data set they are taken from. ``None`` where there are too many.
    """

    inputs: Any
    target: Tensor
    index: Tensor
    whole: int
    soft: Tensor | None = None
    slot: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same on a device."""
        return replace(self._each(lambda tensor: tensor.to(device, non_blocking=True)), slot=self.slot)

    def part(self, number: int, parts: int, whole: int) -> "Batch":
        """Return one of several parts, as ``tensor_split`` makes them.

        Args:
            number: of the part, from 0.
            parts: how many there are.
            whole: items of this part, of all processes together.
        """
        return replace(self._each(lambda tensor: tensor.tensor_split(parts)[number]), whole=whole)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(self, **{field.name: changed(getattr(self, field.name), change) for field in fields(self)})


def check_target(target: Tensor, logits: Tensor) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless ``target`` ``[B]`` is a class of each of ``[B, classes]``.

    Their values are looked at where that costs no wait.
    """
    require(
        logits.dim() == 2 and target.shape == logits.shape[:1] and target.dtype == torch.int64,
        f"target {tuple(target.shape)} of type {target.dtype} for logits {tuple(logits.shape)}: "
        "give one label an image, int64",
    )
    if can_look(target):
        low, high = (int(bound) for bound in target.aminmax())
        require(
            low >= 0 and high < logits.shape[1],
            f"label {low if low < 0 else high} among {logits.shape[1]} classes: labels count from 0",
        )


def _first(inputs: Inputs) -> Tensor:
    return next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
