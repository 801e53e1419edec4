"""Instances as contours on their image."""

from colorsys import hsv_to_rgb
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Pixels of the shorter side, at the least: contours on smaller images would hide them.
_LEAST_SIDE = 384
_GOLDEN = 0.618034  # turns of the hue from one instance to the next, so that neighbours differ


def contours(image: Array, labels: Array) -> Array:
    """Draw the outermost pixels of each instance in a colour of its own; small images are enlarged first.

    Args:
        image: uint8 ``[H, W, 3]``.
        labels: whole numbers ``[H, W]``, 0 of background.

    Returns:
        uint8 ``[k H, k W, 3]``.
    """
    times = max(-(-_LEAST_SIDE // min(labels.shape)), 1)
    drawn, labels = (each.repeat(times, 0).repeat(times, 1) for each in (image, labels))
    edge = np.zeros(labels.shape, bool)
    for one, other in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        differs = labels[one] != labels[other]
        edge[one] |= differs
        edge[other] |= differs
    edge &= labels > 0
    hues = np.array([hsv_to_rgb(number * _GOLDEN % 1, 1, 1) for number in range(int(labels.max()) + 1)])
    drawn[edge] = (255 * hues[labels[edge]]).astype(np.uint8)
    return drawn
