"""Running means that cost the training loop no wait for the device."""

import torch
from torch import Tensor


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
            weight: what the values count for, such as the number of images in the batch.
        """
        for name, value in values.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), device=value.device)
                self._weights[name] = 0
            self._sums[name].add_(value.detach().float(), alpha=weight)
            self._weights[name] += weight

    def means(self) -> dict[str, float]:
        """Return the mean of every name so far. This waits for the device: call it now and then, not every step."""
        if not self._sums:
            return {}
        device = next(iter(self._sums.values())).device
        sums = torch.stack([total.to(device) for total in self._sums.values()]).tolist()
        return {name: total / self._weights[name] for name, total in zip(self._sums, sums, strict=True)}
