"""Networks and losses as the machine runs them fastest, with the same results but for rounding."""

from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trg_pyg.batch import Inputs, rows_of
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs, TappedModel

# Programs that PyTorch keeps of one piece of code. A study trains many students of one class in one process, each with
# another method's taps, and beyond its default of 8 PyTorch would silently go back to uncompiled code.
_MOST_PROGRAMS = 256


@contextmanager
def convolutions_channels_last(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Lay the weights of 2-d convolutions out channels last for a while; values, names and shapes stay.

    What a convolution gives has the layout of its weights, so a whole network follows. Convolution libraries of CPUs
    and of tensor cores work in that layout and spare two copies of every map. Afterwards the weights are contiguous,
    as code that flattens them by ``view`` expects.

    Args:
        networks: on their device.
    """
    layers = [layer for network in networks for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        layer.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for layer in layers:
            layer.to(memory_format=torch.contiguous_format)


class CompiledNetwork:
    """A network that runs compiled for batches of some sizes, and as it is for others.

    Nearly all steps of a training have the same size; compiling once more for the last batch of an epoch, or for
    evaluation, costs more than it saves.

    Args:
        network: what is compiled, when it is first called with each size.
        batch_sizes: numbers of images that it is compiled for.

    Raises:
        InputError: in a first call, this machine cannot compile it.
    """

    def __init__(self, network: TappedModel, batch_sizes: Set[int]) -> None:
        self._network, self._batch_sizes = network, batch_sizes
        self._compiled: Any = torch.compile(network, dynamic=False)
        self._ready: set[int] = set()

    def __call__(self, images: Inputs, labelled: int | None = None) -> Outputs:
        """Return the network's outputs for images ``[B, C, H, W]``.

        Args:
            images: the images.
            labelled: how many of them the size of a batch counts, where a method makes further views of these.
        """
        rows = rows_of(images)
        if (rows if labelled is None else labelled) not in self._batch_sizes:
            outputs: Outputs = self._network(images)
            return outputs
        if rows in self._ready:
            outputs = self._compiled(images)
            return outputs
        # The taps that a network does not declare are looked for outside of compiled code.
        self._network.find(images)
        with _compiling(type(self._network.model).__name__):
            outputs = self._compiled(images)
        self._ready.add(rows)
        return outputs


class CompiledLosses:
    """What a method computes in a function ``compare`` of one of its modules, compiled for batches of some sizes.

    Such a function is of tensors and draws nothing; all other parts of a loss run as they are.

    Args:
        distiller: whose modules they are.
        batch_sizes: numbers of images that they are compiled for.
    """

    def __init__(self, distiller: Distiller, batch_sizes: Set[int]) -> None:
        self._batch_sizes = batch_sizes
        parts: dict[nn.Module, Any] = {
            module: module.compare for module in distiller.modules() if hasattr(module, "compare")
        }
        self._compiled = {module: torch.compile(compare) for module, compare in parts.items()}
        self._name = type(distiller).__name__

    @contextmanager
    def running(self, images: int) -> Iterator[None]:
        """Let them run compiled for a while, if it is for that many images.

        Raises:
            InputError: this machine cannot compile them.
        """
        chosen = self._compiled if images in self._batch_sizes else {}
        for module, compiled in chosen.items():
            vars(module)["compare"] = compiled
        try:
            with _compiling(self._name):
                yield
        finally:
            for module in chosen:
                del vars(module)["compare"]


@contextmanager
def _compiling(name: str) -> Iterator[None]:
    limits: dict[str, Any] = {"recompile_limit": _MOST_PROGRAMS, "accumulated_recompile_limit": _MOST_PROGRAMS}
    try:
        with torch._dynamo.config.patch(**limits):
            yield
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"train.compile: {name} cannot be compiled here ({reason}); a C++ compiler (g++) is needed on a CPU, "
            "Triton on a GPU; or set train.compile to false"
        ) from error
