"""What a recipe makes of the images of a batch, before both networks see them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trg_pyg.batch import Batch
from trg_pyg.data._views import seeds_of
from trg_pyg.errors import require
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World


class Mixing:
    """RandAugment or TrivialAugment and random erasing, image by image; then mixup or CutMix of the whole batch.

    Every process draws what a single one would draw: a seed for each image of the batch, then how the batch is mixed.
    An image's partner is the one before it in the batch, whose order is random already; the first one's is the last.
    Each batch is mixed with one share; where both ways are on, each is taken half of the time.

    Args:
        config: recipe of the training.
        classes: number of classes.
        world: the processes that share each batch.
    """

    def __init__(self, config: TrainConfig, classes: int, world: World) -> None:
        self._config, self._classes, self._world = config, classes, world
        self._change = _transform(config)

    @staticmethod
    def is_on(config: TrainConfig) -> bool:
        """Whether a recipe changes its batches."""
        return bool(config.mixes or config.randaugment or config.trivialaugment or config.erasing)

    @torch.no_grad()
    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return this process's share of a batch as the networks are to see it.

        Args:
            batch: images uint8 ``[b, C, H, W]`` of one class each, on the device.
            generator: CPU generator, in the same state on every process; advanced alike.

        Returns:
            The same, the images still uint8, and where they are mixed with ``soft``, float32 ``[b, classes]``.

        Raises:
            InputError: the images have channels that RandAugment and TrivialAugment do not know.
        """
        images, target, config = batch.inputs, batch.target, self._config
        channels = images.shape[1]
        require(
            channels in (1, 3) or not (config.randaugment or config.trivialaugment),
            f"train.randaugment = {config.randaugment}, train.trivialaugment = {config.trivialaugment}: images of "
            f"{channels} channels, and they know grey and colour only; leave them out",
        )
        if self._change is not None:
            if config.views:
                assert batch.slot is not None
                seeds = seeds_of(batch.slot, 2)
            else:
                seeds = self._world.share(torch.randint(2**62, (batch.whole,), generator=generator))
            images = _changed(images, self._change, seeds.tolist())
        if not config.mixes:
            return replace(batch, inputs=images, slot=batch.slot if config.views else None)
        images, share = self._mixed(images, self._before(images), generator)
        own, other = (one_hot(labels, self._classes).float() for labels in (target, self._before(target)))
        return replace(batch, inputs=images, soft=torch.lerp(other, own, share), slot=None)

    def _before(self, rows: Tensor) -> Tensor:
        """Return the rows of each image's partner."""
        world = self._world
        if world.size == 1:
            return rows.roll(1, 0)
        last = world.gather(rows[-1:], [1] * world.size)
        return torch.cat([last[world.rank - 1 : world.rank or None], rows[:-1]])

    def _mixed(self, images: Tensor, others: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
        """Return the images mixed with others, and their own share in it."""
        config = self._config
        cuts = config.cutmix > 0 and (config.mixup == 0 or torch.rand((), generator=generator).item() < 0.5)
        alpha = config.cutmix if cuts else config.mixup
        # Torch draws from this distribution by its global generator only.
        seed = int(torch.randint(2**62, (), generator=generator))
        share = float(np.random.default_rng(seed).beta(alpha, alpha))
        if cuts:
            return _cut(images, others, share, generator)
        return torch.lerp(others.float(), images.float(), share).round().to(torch.uint8), share


def _cut(images: Tensor, others: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Paste a box of other images, at one place in all, whose area is at most ``1 - share``: less at the edge."""
    from torchvision.transforms.v2.functional import erase  # takes seconds to import

    height, width = images.shape[2:]
    sizes = [int(side * math.sqrt(1 - share)) for side in (height, width)]
    centres = [int(torch.randint(side, (), generator=generator)) for side in (height, width)]
    (top, bottom), (left, right) = (
        (max(centre - size // 2, 0), min(centre - size // 2 + size, side))
        for centre, size, side in zip(centres, sizes, (height, width), strict=True)
    )
    box = others[..., top:bottom, left:right]
    mixed: Tensor = erase(images, top, left, bottom - top, right - left, box)
    return mixed, 1 - box[0, 0].numel() / (height * width)


def _transform(config: TrainConfig) -> Callable[[Tensor], Tensor] | None:
    """Return what happens to an image, by torch's global generator; ``None`` for nothing."""
    if not (config.randaugment or config.trivialaugment or config.erasing):
        return None
    from torchvision.transforms import v2  # takes seconds to import

    steps: list[Any] = [v2.RandAugment(magnitude=config.randaugment)] if config.randaugment else []
    steps += [v2.TrivialAugmentWide()] if config.trivialaugment else []
    steps += [v2.RandomErasing(config.erasing)] if config.erasing else []
    transform: Callable[[Tensor], Tensor] = v2.Compose(steps)
    return transform


def _changed(images: Tensor, change: Callable[[Tensor], Tensor], seeds: Sequence[int]) -> Tensor:
    # What torchvision draws, it draws from the global generator, which is put back.
    with torch.random.fork_rng(devices=[]):
        changed = []
        for image, seed in zip(images, seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            changed.append(change(image))
    return torch.stack(changed)
