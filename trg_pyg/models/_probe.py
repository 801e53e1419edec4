"""Looking at a network by running it once, without leaving a trace on it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from trg_pyg._size import Size, sides
from trg_pyg.batch import Inputs, changed
from trg_pyg.errors import InputError

PROBE_BATCH = 2
# What a network is looked at with: black images of a size, or else an item of its inputs, [1, ...]; a clip is black.
Example = Size | Inputs


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode of every module and the random state are restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    place = device_of(model)
    try:
        model.eval()  # normalisation layers neither read nor change batch statistics
        with torch.no_grad(), torch.random.fork_rng([place] if place.type == "cuda" else []):
            yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter, the CPU for a network without parameters."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def black_images(model: nn.Module, size: Size, channels: int = 3, images: int = PROBE_BATCH) -> Tensor:
    """Return black images, ``[B, channels, height, width]``, of the type and on the device of the parameters."""
    return torch.zeros(images, channels, *sides(size), dtype=_dtype_of(model), device=device_of(model))


def _dtype_of(model: nn.Module) -> torch.dtype:
    floating = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return next(floating, torch.float32)


def inputs_like(model: nn.Module, example: Example, channels: int = 3, items: int = PROBE_BATCH) -> Inputs:
    """Return inputs of an example on the device of a network: black images or clips, or the item several times."""
    if isinstance(example, int | tuple):
        return black_images(model, example, channels, items)
    if isinstance(example, Tensor) and example.dtype == torch.uint8:
        return torch.zeros(items, *example.shape[1:], dtype=_dtype_of(model), device=device_of(model))
    place = device_of(model)
    inputs: Inputs = changed(example, lambda each: each[:1].expand(items, *each.shape[1:]).contiguous().to(place))
    return inputs


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Return what a network gives for inputs; those that have names are named."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def first_tensor(output: Any) -> Tensor | None:
    """Return a tensor itself, the first item of a tuple or list if that is a tensor, otherwise ``None``."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def is_channels_last(shape: torch.Size, marked: bool, images: Sequence[int]) -> bool:
    """Return whether a map is ``[B, H, W, C]`` rather than ``[B, C, H, W]``.

    Networks mix the two (a patch embedding is a convolution), and torchvision's Swin says nowhere that it is channels
    last. A grid has the shape of its image, so the shape tells; ``marked`` decides where it does not.

    Args:
        shape: of the map.
        marked: whether the network says so.
        images: height and width.
    """
    first, last = _has_shape_of(shape[2:], images), _has_shape_of(shape[1:3], images)
    return marked if first == last else last


def _has_shape_of(grid: Sequence[int], images: Sequence[int]) -> bool:
    """Whether a grid may be that of images: strides round its sides up or down."""
    (rows, columns), (height, width) = grid, images
    return rows == columns if height == width else abs(rows * width - columns * height) <= max(height, width)


def grid_of(tokens: int, images: Sequence[int]) -> tuple[int, int] | None:
    """Return the grid of so many tokens that has the shape of the images, ``None`` where there is none."""
    height, width = images
    if tokens <= 0:
        return None
    rows = round(math.sqrt(tokens * height / width))
    grid = rows, tokens // max(rows, 1)
    return grid if grid[0] * grid[1] == tokens and _has_shape_of(grid, images) else None


def ends_of_quarters(blocks: int) -> list[int]:
    """Return the index of the last block of each quarter, ``12 -> [2, 5, 8, 11]``; fewer where blocks are below 4."""
    return sorted({blocks * quarter // 4 - 1 for quarter in (1, 2, 3, 4)} - {-1})


class _Call(NamedTuple):
    """Shapes of the first tensor that a module took and gave, in its last call."""

    took: torch.Size | None
    gave: torch.Size | None


_REPEATING = (nn.Sequential, nn.ModuleList)
_MOST_STAGES = 4


class Look:
    """What running a network once has shown: its taps and its classifier.

    Args:
        model: the network, itself no candidate for a tap.
        run: calls the network on images and returns what it returns.
        images: to call it on, :data:`PROBE_BATCH` of them.
        prefix_tokens: tokens at the head of a sequence that are not part of its grid.
        channels_last: a map is ``[B, H, W, C]`` where its shape does not tell.
    """

    def __init__(
        self, model: nn.Module, run: Callable[[Tensor], Any], images: Tensor, prefix_tokens: int, channels_last: bool
    ) -> None:
        self._name = type(model).__name__
        self._modules = dict(model.named_modules())
        self._prefix_tokens = prefix_tokens
        self._channels_last = channels_last
        self._size = images.shape[2:]
        # A tap stands for the last call of its module, so that is what is kept, in the order in which they finished.
        self._calls: dict[str, _Call] = {}
        # Outputs and not their addresses: memory that was freed would be taken again, by the logits among others.
        self._linears: dict[str, Tensor] = {}
        with self._hooked(self._modules, self._watch):
            self._logits = first_tensor(run(images))
        self._scores = self._score_maps(run, images)

    @contextmanager
    def _hooked(self, paths: Iterable[str], hook: Callable[..., None]) -> Iterator[None]:
        handles = [self._modules[path].register_forward_hook(partial(hook, path)) for path in paths]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def last(self) -> str:
        """Return the path of the last module to finish whose output has a spatial grid larger than 1x1.

        Maps of class scores, and what finishes after the classifier, as auxiliary heads do, are passed over while there
        is another.

        Raises:
            InputError: no module has such an output.
        """
        for path in reversed(self._maps()):
            return path
        raise InputError(f"no module of {self._name} gives a map or a sequence larger than 1x1; name the taps")

    def _maps(self) -> list[str]:
        """Return the paths of maps of features, in the order in which they finished; all maps where there are none."""
        order, classifier = list(self._calls), self.classifier()
        maps = [path for path in order if path and self._grid(self._calls[path].gave) is not None]
        end = len(order) if classifier is None else order.index(classifier)
        # Dropout gives the map before it, but in training another one.
        sound = [path for path in maps if not isinstance(self._modules[path], _DropoutNd)]
        return [path for path in sound if order.index(path) < end] or maps

    def stages(self) -> tuple[str, ...]:
        """Return the paths of at most four maps, from shallow to deep; the last is :meth:`last`.

        Where grids differ, one is the last module to finish with its grid. Where all are the same, it is the last
        block of each quarter of the longest row of blocks.

        Raises:
            InputError: no module has an output with a grid.
        """
        last = self.last()
        images = self._calls[""].took
        ends: dict[tuple[int, int], str] = {}
        for path in self._maps():
            call = self._calls[path]
            grid = self._grid(call.gave)
            assert grid is not None
            # Grids have the shape of the images: neither the patches without their prefix tokens nor windows are maps.
            odd = images is not None and not _has_shape_of(grid, self._size)
            if path != last and (odd or call.gave == images or self._is_inner(path, grid)):
                continue
            ends.pop(grid, None)
            ends[grid] = path
        if len(ends) > 1:
            return tuple(ends.values())[-_MOST_STAGES:]
        blocks = self._blocks(self._grid(self._calls[last].gave))
        return (*(blocks[index] for index in ends_of_quarters(len(blocks))[:-1]), last)

    def classifier(self) -> str | None:
        """Return the path of the layer that gives the logits, ``None`` where there is none.

        It is the linear one whose output is the logits, or else the convolution or linear layer that gives a score of
        each class at each place, of which the logits are the mean or the maximum. Where something follows it (a mean of
        heads, a scale), it is the last one behind the last map of features that takes ``[B, d]`` and is as wide as the
        logits; of several beside one another the first: the heads of a distilled transformer are called class token
        first.
        """
        if self._logits is None:
            return None
        for path, output in reversed(self._linears.items()):
            if output is self._logits or _share_memory(output, self._logits):
                return path
        for path in reversed(self._calls):
            if path in self._scores and _is_of_one_place(self._modules[path]):
                return path
        heads: list[str] = []
        for path, call in reversed(self._calls.items()):
            if path and self._grid(call.gave) is not None and path not in self._wide():
                break
            if path in self._linears and call.gave == self._logits.shape:
                heads.append(path)
        if not heads:
            return None
        width = self._width(heads[0])
        # One that takes as many values as there are classes may stand behind another instead of beside it.
        beside = [path for path in heads if self._width(path) == width != self._logits.shape[1]]
        return (beside or heads[:1])[-1]

    def _wide(self) -> list[str]:
        """Return the paths of maps and sequences, of one place too, that are as wide as the logits."""
        classes = -1 if self._logits is None or self._logits.ndim != 2 else self._logits.shape[1]
        shapes = [(path, call.gave) for path, call in self._calls.items() if path and call.gave is not None]
        return [path for path, shape in shapes if len(shape) in (3, 4) and classes in (shape[1], shape[-1])]

    def _score_maps(self, run: Callable[[Tensor], Any], images: Tensor) -> set[str]:
        """Return the paths of maps whose mean or maximum over places, or that of their positive part, is the logits.

        A map of features may be as wide as the logits by chance, so the values have to tell. Those of black images may
        all be zero.
        """
        maps: dict[str, Tensor] = {}
        wide = self._wide()
        if not wide:
            return set()

        def keep(path: str, module: nn.Module, args: Any, output: Any) -> None:
            maps[path] = tensor.clone() if (tensor := first_tensor(output)) is not None else images

        ramp = torch.linspace(0, 1, images.numel(), device=images.device).view_as(images).to(images.dtype)
        with self._hooked(wide, keep):
            logits = first_tensor(run(ramp))
        assert logits is not None
        found = set()
        for path, scores in maps.items():
            places = scores.flatten(2).mT if scores.shape[1] == logits.shape[1] and scores.ndim == 4 else scores
            places = places.flatten(1, -2) if places.ndim == 4 else places
            if places.ndim != 3 or places.mean(1).shape != logits.shape:
                continue
            pooled = (places.mean(1), places.relu().mean(1), places.amax(1), places.relu().amax(1))
            if any(torch.allclose(each, logits, rtol=1e-3, atol=1e-6) for each in pooled):
                found.add(path)
        return found

    def _watch(self, path: str, module: nn.Module, args: Any, output: Any) -> None:
        took, gave = first_tensor(args), first_tensor(output)
        self._calls.pop(path, None)
        self._calls[path] = _Call(None if took is None else took.shape, None if gave is None else gave.shape)
        self._linears.pop(path, None)
        if isinstance(module, nn.Linear) and took is not None and took.ndim == 2 and gave is not None:
            self._linears[path] = gave

    def _width(self, path: str) -> int:
        took = self._calls[path].took
        assert took is not None
        return took[1]

    def _grid(self, shape: torch.Size | None) -> tuple[int, int] | None:
        """Return a grid larger than 1x1, ``(1, tokens)`` for a sequence without the images' shape, or ``None``."""
        if shape is None or len(shape) not in (3, 4) or shape[0] != PROBE_BATCH:
            return None
        if len(shape) == 3:
            tokens = shape[1] - self._prefix_tokens
            return (grid_of(tokens, self._size) or (1, tokens)) if tokens > 1 else None
        last = is_channels_last(shape, self._channels_last, self._size)
        height, width = shape[1:3] if last else shape[2:4]
        return (height, width) if height * width > 1 else None

    def _around(self, path: str) -> Iterator[str]:
        """Paths of the modules around one, the network left out."""
        while path := path.rpartition(".")[0]:
            yield path

    def _passage(self, path: str) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        call = self._calls.get(path, _Call(None, None))
        return self._grid(call.took), self._grid(call.gave)

    def _is_inner(self, path: str, grid: tuple[int, int]) -> bool:
        """Whether this is the inside of a block: one that leaves this grid, or keeps another.

        A bottleneck's first convolution still has the grid that its block leaves, and finishes after the stage before;
        the weights of an attention look like a map.
        """
        images = self._calls[""].took
        for around in self._around(path):
            before, after = self._passage(around)
            if before is None or after is None or self._calls[around].took == images:
                continue  # what takes the images is a whole network
            if grid != after and (before == after or (grid == before and not self._is_run(around, before, after))):
                return True
        return False

    def _is_run(self, path: str, before: tuple[int, int], after: tuple[int, int]) -> bool:
        """Whether a module that leaves a grid is a row of several stages, and not the step from one to the next."""
        if type(self._modules[path]) not in _REPEATING:  # not isinstance: DenseNet's transition is a Sequential
            return False
        children = [child for child in self._calls if child and child.rpartition(".")[0] == path]
        grids = {self._grid(self._calls[child].gave) for child in children}
        return len({type(self._modules[child]) for child in children}) == 1 or bool(grids - {before, after, None})

    def _blocks(self, grid: tuple[int, int] | None) -> list[str]:
        """Paths of the longest row of modules of one class with this grid, outside of one another."""
        best: list[str] = []
        for path, module in self._modules.items():
            if not isinstance(module, _REPEATING) or any(self._is_block(around, grid) for around in self._around(path)):
                continue
            rows: dict[type, list[str]] = {}
            for child, call in self._calls.items():
                if child and child.rpartition(".")[0] == path and self._grid(call.gave) == grid:
                    rows.setdefault(type(self._modules[child]), []).append(child)
            best = max([best, *rows.values()], key=len)
        return best

    def _is_block(self, path: str, grid: tuple[int, int] | None) -> bool:
        row = self._modules.get(path.rpartition(".")[0])
        alone = isinstance(row, _REPEATING) and not isinstance(self._modules.get(path), _REPEATING)
        return alone and self._passage(path) == (grid, grid)


def _is_of_one_place(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and set(module.kernel_size) == {1})


def _share_memory(a: Tensor, b: Tensor) -> bool:
    address = a.untyped_storage().data_ptr()
    return address != 0 and address == b.untyped_storage().data_ptr()
