"""Steps whose numbers are not finite: noticed before they are taken, and named."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from trg_pyg.divergences.memory_bank import MemoryBank
from trg_pyg.errors import few
from trg_pyg.models.taps import Outputs


class TrainingDiverged(RuntimeError):
    """A training has numbers that are not finite; the message names them, the place and what helps."""


class Buffers:
    """A module's buffers as they were, such as running means and memory banks, which a forward pass changes.

    Args:
        module: whose buffers are copied now, counters, which are whole numbers, too; of memory banks, which may be
            large, what is replaced from now on. Buffers that are no part of a state dict are left alone.
    """

    def __init__(self, module: nn.Module) -> None:
        self._banks = [part for part in module.modules() if isinstance(part, MemoryBank)]
        self._kept = [(buffer, buffer.detach().clone()) for buffer in _changing(module)]
        for bank in self._banks:
            bank.mark()

    @torch.no_grad()
    def restore(self) -> None:
        """Put them back."""
        for buffer, kept in self._kept:
            buffer.copy_(kept)
        for bank in self._banks:
            bank.undo()


def _changing(module: nn.Module) -> Iterator[Tensor]:
    for part in module.modules():
        if not isinstance(part, MemoryBank):
            for name, buffer in part._buffers.items():
                if buffer is not None and name not in part._non_persistent_buffers_set:
                    yield buffer


def gradient_norm(parameters: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all gradients together, a scalar; 0 where there are none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    return nn.utils.get_total_norm(gradients)


def bad_images(outputs: Outputs, index: Tensor) -> list[int]:
    """Return which images of a batch have an output that is not finite.

    Args:
        outputs: of a network; tensors whose first dimension is the batch.
        index: positions of the images in the training set, ``[B]``.

    Returns:
        Their positions in the training set, in the order of the batch.
    """
    bad = torch.zeros(len(index), dtype=torch.bool, device=index.device)
    embedding = [] if outputs.embedding is None else [outputs.embedding]
    for tensor in (outputs.logits, *outputs.features, *embedding):
        bad |= ~tensor.detach().flatten(1).isfinite().all(dim=1).to(bad.device)
    positions: list[int] = index[bad].tolist()
    return positions


def explain(parts: Mapping[str, float], norm: float, images: Mapping[str, Sequence[int]]) -> str:
    """Return in words what of a step is not finite.

    Args:
        parts: losses by name.
        norm: of the gradients.
        images: by network, positions of the images whose outputs are not finite.
    """
    said = [f"{name} is {value}" for name, value in parts.items() if not math.isfinite(value)]
    if not math.isfinite(norm):
        said.append(f"the gradient's norm is {norm}")
    for network, positions in images.items():
        if positions:
            shown = few([str(position) for position in positions])
            said.append(f"outputs of the {network} for training images {shown} are not finite")
    return ", ".join(said)


class Silence:
    """Parts of a loss that never change, and parameters of the method that never get a gradient, over an epoch.

    A part that is 0 or constant teaches nothing: its weights underflow, its graph is detached, or the two networks are
    one. Nothing here waits for the device before :meth:`report`.

    Args:
        method: its parameters are looked at.
    """

    def __init__(self, method: nn.Module) -> None:
        self._method = method
        self._range: dict[str, tuple[Tensor, Tensor]] = {}
        self._heard: dict[str, Tensor] = {}
        self._steps = 0

    def step(self, parts: Mapping[str, Tensor]) -> None:
        """Look at a step, before its gradients are cleared.

        Args:
            parts: unweighted losses by name, scalars.
        """
        self._steps += 1
        for name, value in parts.items():
            value = value.detach().float()
            low, high = self._range.get(name, (value, value))
            self._range[name] = torch.minimum(low, value), torch.maximum(high, value)
        for name, parameter in self._method.named_parameters():
            if not parameter.requires_grad:
                continue
            size = torch.zeros(()) if parameter.grad is None else parameter.grad.detach().abs().max()
            self._heard[name] = torch.maximum(self._heard[name], size) if name in self._heard else size

    def report(self) -> list[str]:
        """Return a sentence for each part and parameter that was silent in the steps so far, and begin again.

        A single step says nothing of a part that is constant.
        """
        said = []
        for name, (low, high) in self._range.items():
            if low.item() == high.item() == 0:
                said.append(f"the part {name} of the loss was 0 in all {self._steps} steps")
            elif low.item() == high.item() and self._steps > 1:
                said.append(f"the part {name} of the loss was {low.item():.6g} in all {self._steps} steps")
        silent = [name for name, size in self._heard.items() if size.item() == 0]
        if silent:
            said.append(f"parameters of the method had no gradient: {few(silent)}")
        self._range, self._heard, self._steps = {}, {}, 0
        return said
