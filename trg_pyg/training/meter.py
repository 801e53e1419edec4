"""Running means that cost the training loop no wait for the device."""

from collections.abc import Iterable

import torch
from torch import Tensor

from trg_pyg.training.distributed import SINGLE_PROCESS, World


class Meter:
    """Weighted running means of named scalars, kept on their device until they are read.

    A name that some updates lack is averaged over those that have it.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, int] = {}

    def update(self, values: dict[str, Tensor], weight: int) -> None:
        """Add the values of one batch.

        Args:
            values: scalars by name, on any device; they are detached.
            weight: what the values count for, such as the number of images in the batch. Of several processes, each
                gives the images of its own share: means over all processes are then right both for what a process
                measured on its share, and for what all measured alike on the whole batch.
        """
        for name, value in values.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), device=value.device)
                self._weights[name] = 0
            elif self._sums[name].device != value.device:  # a state that was read
                self._sums[name] = self._sums[name].to(value.device)
            self._sums[name].add_(value.detach().float(), alpha=weight)
            self._weights[name] += weight

    def means(self, world: World = SINGLE_PROCESS) -> dict[str, float]:
        """Return the mean of every name so far. This waits for the device: call it now and then, not every step.

        Args:
            world: processes over which means are taken; each of them must make the call, with the same names. By
                default this process's own.
        """
        if not self._sums:
            return {}
        device = next(iter(self._sums.values())).device
        sums = torch.stack([total.to(device) for total in self._sums.values()])
        if world.size == 1:
            totals, weights = sums.tolist(), list(self._weights.values())
        else:
            counts = torch.tensor(list(self._weights.values()), dtype=torch.float64, device=device)
            totals, weights = world.sum(torch.stack([sums.double(), counts])).tolist()
        # A name without weight is one that other processes, or earlier ones, had values of.
        return {name: total / weight for name, total, weight in zip(self._sums, totals, weights, strict=True) if weight}

    def state_dict(self) -> dict[str, list[float]]:
        """Return sum and weight of every name. This waits for the device."""
        return {name: [total.item(), self._weights[name]] for name, total in self._sums.items()}

    @classmethod
    def merged(cls, states: Iterable[dict[str, list[float]]], names: Iterable[str] = ()) -> "Meter":
        """Return a meter that goes on from several states, on the CPU until it is updated.

        Args:
            states: of the meters whose values it takes over.
            names: that it has in any case, in this order: meters of several processes must have the same ones.
        """
        meter = cls()
        for name in names:
            meter._sums[name], meter._weights[name] = torch.zeros(()), 0
        for state in states:
            for name, (total, weight) in state.items():
                meter._sums[name] = meter._sums.get(name, torch.zeros(())) + total
                meter._weights[name] = meter._weights.get(name, 0) + int(weight)
        return meter
