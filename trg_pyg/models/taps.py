"""Features of any network, by module path, without an edit to the network."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """What one network gives for a batch of B images.

    Attributes:
        logits: ``[B, classes]``.
        features: one tensor per tap, in the order of the taps, as the tapped module returned it.
    """

    logits: Tensor
    features: tuple[Tensor, ...]


@dataclass(frozen=True)
class FeatureInfo:
    """Shape of one tapped feature for a single image, known before any training.

    Attributes:
        path: module path of the tap, such as ``"layer3"``.
        layout: ``"map"`` for ``[B, C, H, W]``, ``"map_last"`` for ``[B, H, W, C]``, ``"sequence"`` for
            ``[B, prefix + H * W, C]``.
        channels: C, the width of a feature vector.
        grid: ``(H, W)``.
        prefix_tokens: class, distillation and register tokens at the head of a sequence.
    """

    path: str
    layout: Literal["map", "map_last", "sequence"]
    channels: int
    grid: tuple[int, int]
    prefix_tokens: int = 0


@dataclass(frozen=True)
class NetworkInfo:
    """What a distiller needs to know of a network when it is built."""

    num_classes: int
    features: tuple[FeatureInfo, ...]
