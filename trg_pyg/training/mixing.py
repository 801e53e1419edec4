"""What a recipe makes of the images of a batch, before both networks see them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trg_pyg._seeded import changed_by_seed
from trg_pyg.batch import Batch
from trg_pyg.data._views import seeds_of
from trg_pyg.data.base import Source
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.video.video_data import VideoSet
from trg_pyg.errors import require
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World


class Mixing:
    """RandAugment or TrivialAugment and random erasing, image by image; then mixup or CutMix of the whole batch.

    Every process draws what a single one would draw: a seed for each image of the batch, then how the batch is mixed.
    An image's partner is the one before it in the batch, whose order is random already; the first one's is the last.
    Each batch is mixed with one share; where both ways are on, each is taken half of the time.

    Of fixed views (``config.views``) all of this is drawn for each image from its slot, and its partner comes with the
    batch.

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
            batch: images uint8 ``[b, C, H, W]`` of one class each, on the device; of fixed views that are to be mixed,
                as a loader gives ``pairs``.
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
            images = changed_by_seed(images, self._change, seeds.tolist())
        if not config.mixes:
            return replace(batch, inputs=images, slot=batch.slot if config.views else None)
        if config.views:
            return self._of_pairs(replace(batch, inputs=images))
        images, share = self._mixed(images, self._before(images), generator)
        own, other = (one_hot(labels, self._classes).float() for labels in (target, self._before(target)))
        return replace(batch, inputs=images, soft=torch.lerp(other, own, share), slot=None)

    def _of_pairs(self, both: Batch) -> Batch:
        batch, others = (both.part(number, 2, both.whole) for number in range(2))
        images, config = batch.inputs, self._config
        assert batch.slot is not None
        shares = torch.ones(len(images), 1, *images.shape[2:])  # of the image's own, in each pixel
        for own, seed in zip(shares, seeds_of(batch.slot, 5).tolist(), strict=True):
            draws = np.random.default_rng(seed)
            cuts = config.cutmix > 0 and (config.mixup == 0 or draws.random() < 0.5)
            alpha = config.cutmix if cuts else config.mixup
            share = draws.beta(alpha, alpha)
            if cuts:
                (top, bottom), (left, right) = _box(images, share, [draws.integers(side) for side in images.shape[2:]])
                own[:, top:bottom, left:right] = 0
            else:
                own.fill_(share)
        weights = shares.to(images.device)
        mixed = torch.lerp(others.inputs.float(), images.float(), weights).round().to(torch.uint8)
        one, other = (one_hot(each.target, self._classes).float() for each in (batch, others))
        return replace(batch, inputs=mixed, soft=torch.lerp(other, one, weights.mean((2, 3))))

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
    centres = [int(torch.randint(side, (), generator=generator)) for side in (height, width)]
    (top, bottom), (left, right) = _box(images, share, centres)
    box = others[..., top:bottom, left:right]
    mixed: Tensor = erase(images, top, left, bottom - top, right - left, box)
    return mixed, 1 - box[0, 0].numel() / (height * width)


def _box(images: Tensor, share: float, centres: Sequence[int]) -> list[tuple[int, int]]:
    """Return top and bottom, left and right of a box around a centre that takes ``1 - share``, less at the edge."""
    sides = images.shape[2:]
    sizes = [int(side * math.sqrt(1 - share)) for side in sides]
    return [
        (max(int(centre) - size // 2, 0), min(int(centre) - size // 2 + size, side))
        for centre, size, side in zip(centres, sizes, sides, strict=True)
    ]


def check_mixing(config: TrainConfig, train_set: Source) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` where a recipe changes images, or classes, that there are none of."""
    named: tuple[str, ...] = ("mixup", "cutmix", "randaugment", "trivialaugment", "erasing")
    part = train_set.task.answers_for
    if part:
        named += ("label_smoothing", "balanced_sampling", "logit_adjustment", "effective_number")
    found = [f"train.{name} = {value}" for name in named if (value := getattr(config, name))]
    require(
        not found or not isinstance(train_set, InputSet | VideoSet),
        f"{' and '.join(found)}: it changes images, and these data are none; leave it out",
    )
    require(
        not found or not part,
        f"{' and '.join(found)}: it is for images of one class each, and these networks answer for each {part}; "
        "leave it out",
    )


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
