"""A second view of images, for methods that compare two."""

from torch import Tensor

from trg_pyg._seeded import changed_by_seed
from trg_pyg.errors import require
from trg_pyg.step import Step

# torchvision's RandAugment has 31 magnitudes from 0 on.
_MOST_MAGNITUDE = 30


def check_magnitude(magnitude: int) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless RandAugment has that magnitude."""
    require(0 <= magnitude <= _MOST_MAGNITUDE, f"magnitude={magnitude}: RandAugment has 0 to {_MOST_MAGNITUDE}")


def strong_view(images: Tensor, magnitude: int, step: Step, method: str) -> Tensor:
    """Return images changed by two operations of RandAugment each, by :meth:`~trg_pyg.step.Step.noise`.

    Args:
        images: uint8 ``[B, C, H, W]``.
        magnitude: of the operations, in [0, 30].
        step: whose positions of the images are known.
        method: that asks, for messages.

    Raises:
        InputError: images are not grey or of three colours, or their positions are not known.
    """
    channels = images.shape[1]
    require(
        channels in (1, 3),
        f"{method}: images of {channels} channels, and RandAugment knows grey and colour; choose another method",
    )
    from torchvision.transforms import v2  # takes seconds to import

    seeds = (step.noise(()) * 2**24).long().tolist()
    return changed_by_seed(images, v2.RandAugment(magnitude=magnitude), seeds)
