"""The running mean of a student's weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    r"""Exponential moving average of a network's parameters and running statistics, from its initial ones on.

    .. math:: \bar\theta \leftarrow d_n \, \bar\theta + (1 - d_n) \, \theta_n, \qquad
        d_n = \min\big(d, \tfrac{1 + n}{10 + n}\big)

    after step n, counted from 0: the first steps count less, so that short trainings keep nothing of the beginning.

    Args:
        network: on its device.
        decay: d, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._means = [value.detach().clone() for value in self._values()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + step) / (10 + step))
        pairs = list(zip(self._means, self._values(), strict=True))
        floats = [(mean, value) for mean, value in pairs if value.is_floating_point()]
        means, values = map(list, zip(*floats, strict=True))
        get_ema_multi_avg_fn(decay)(means, values, step)
        for mean, value in pairs:
            if not value.is_floating_point():
                mean.copy_(value)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the network have the means for a while."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def keep(self) -> None:
        """Give the network the means for good."""
        for mean, value in zip(self._means, self._values(), strict=True):
            value.copy_(mean)

    def state_dict(self) -> dict[str, Any]:
        """Return the means."""
        return {"means": self._means}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from these means."""
        for mean, value in zip(self._means, state["means"], strict=True):
            mean.copy_(value)

    @torch.no_grad()
    def _exchange(self) -> None:
        for mean, value in zip(self._means, self._values(), strict=True):
            own = value.clone()
            value.copy_(mean)
            mean.copy_(own)

    def _values(self) -> list[Tensor]:
        # Asked anew each time: a module may put another tensor in a buffer's place.
        return [*self._network.parameters(), *self._network.buffers()]
