"""The global random generators, as one training sees them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class GlobalStream:
    """A random stream of a training's own in the place of PyTorch's global one: dropout can draw from no other.

    A training then does not depend on what was drawn before it, does not change what is drawn after it, and several
    trainings can take turns step by step, each as if it ran alone.

    Args:
        seed: where the stream begins.
        device: of the training; on a GPU its generator is part of the stream.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        # Generators of one's own: torch.manual_seed would set those of all devices.
        self._state = {"cpu": torch.Generator().manual_seed(seed).get_state()}
        if device.type == "cuda":
            self._state["cuda"] = torch.Generator(device).manual_seed(seed).get_state()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let what is drawn globally come from this stream; the global one is put back afterwards."""
        outer = self._current()
        self._restore(self._state)
        try:
            yield
        finally:
            self._state = self._current()
            self._restore(outer)

    def state_dict(self) -> dict[str, Tensor]:
        """Return where the stream stands."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there; what the state lacks, that of a GPU where it was saved without, stays as it is."""
        self._state |= {name: value for name, value in state.items() if name in self._state}

    def _current(self) -> dict[str, Tensor]:
        state = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self._device)
        return state

    def _restore(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state["cpu"])
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self._device)
