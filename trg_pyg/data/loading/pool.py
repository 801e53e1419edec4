"""Streams of images beside the training images."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from trg_pyg.batch import Batch
from trg_pyg.data.base import Source
from trg_pyg.data.loading._epochs import LoaderState
from trg_pyg.data.loading.augment import Augment
from trg_pyg.data.loading.loader import Loader, make_loader


class Pools(Mapping[str, Batch]):
    """Endless streams of images by name, each shuffled anew whenever it begins again; a batch a step.

    A look at a name gives the batch of this step, however often it is looked at. Of a stream that nobody looks at in a
    step nothing is drawn. Images are mirrored where the training images are, and never cropped.

    Args:
        sources: images by name, one at least each.
        batch_size: images a step, of all processes together, at most all of a stream: no batch is smaller.
        flip: mirror images left to right at random.
        seed: of the order and the mirroring, each stream of its own, by its place; equal on all processes.
        device: where the batches go.
        parts: that a step is computed in, each with its share of a batch.
        rank: of this process, whose share of each batch is given.
        world_size: processes that share a batch.

    Raises:
        InputError: a stream has fewer images than there are processes.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        batch_size: int,
        *,
        flip: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        parts: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        root = torch.Generator().manual_seed(seed)
        seeds: Sequence[int] = torch.randint(2**62, (len(sources),), generator=root).tolist()
        self._loaders: dict[str, Loader] = {
            name: make_loader(
                source.to(device),
                min(batch_size, len(source)),
                augment=Augment(0, flip),
                generator=torch.Generator().manual_seed(own),
                drop_last=True,
                device=device,
                rank=rank,
                world_size=world_size,
            )
            for (name, source), own in zip(sources.items(), seeds, strict=True)
        }
        self._streams: dict[str, Iterator[Batch]] = {}
        self._parts, self._part = parts, 0
        self._drawn: dict[str, Batch] = {}

    def __getitem__(self, name: str) -> Batch:
        if name not in self._drawn:
            self._drawn[name] = self._next(name)
        drawn = self._drawn[name]
        return drawn.part(self._part, self._parts, drawn.whole)

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)

    def images(self, name: str) -> int:
        """Return how many images a stream goes through."""
        return len(self._loaders[name].image_set)

    def _next(self, name: str) -> Batch:
        while True:
            for batch in self._streams.get(name, ()):
                return batch
            self._streams[name] = iter(self._loaders[name])

    def begin(self, part: int) -> None:
        """Go to a part of a step, counted from 0; with part 0 a new step begins."""
        self._part = part
        if part == 0:
            self._drawn.clear()

    def state_dict(self) -> dict[str, LoaderState]:
        """Return where each stream stands, after the batches given out so far."""
        return {name: loader.state_dict() for name, loader in self._loaders.items()}

    def load_state_dict(self, state: Mapping[str, LoaderState]) -> None:
        """Continue from a state.

        Raises:
            InputError: a stream is of other images, or of another batch size.
        """
        self._streams.clear()
        self._drawn.clear()
        for name, loader in self._loaders.items():
            loader.load_state_dict(state[name])
