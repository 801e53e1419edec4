"""Random changes of images by torchvision, which draws from the global generator."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


@torch.no_grad()
def changed_by_seed(images: Tensor, change: Callable[[Tensor], Tensor], seeds: Iterable[int]) -> Tensor:
    """Return images ``[B, ...]``, each changed by draws of a seed of its own; the global generator is put back."""
    with torch.random.fork_rng(devices=[]):
        changed = []
        for image, seed in zip(images, seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            changed.append(change(image))
    return torch.stack(changed)
