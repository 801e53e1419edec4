"""The words of a text in the colours of their values."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.viz.drawing import importing_matplotlib

# Of a letter of DejaVu Sans Mono, which comes with matplotlib, as a share of its size; and points of it.
_ADVANCE, _SIZE = 0.602, 9
_LINE = 1.7  # height of a line, as a share of the size
_COLOUR = "#E69F00"


def text_height(words: Sequence[str], columns: int) -> float:
    """Return how high a text in lines of so many letters is, in inches."""
    return (1 + _places(words, columns)[-1][0]) * _LINE * _SIZE / 72


def text_width(columns: int) -> float:
    """Return how wide lines of so many letters are, in inches."""
    return columns * _ADVANCE * _SIZE / 72


def draw_words(axes: Any, words: Sequence[str], values: Tensor, columns: int = 40) -> None:
    """Draw a text with a value of each word as the colour behind it, white for 0 and full for the largest.

    Args:
        axes: matplotlib's, to draw in, as wide and high as :func:`text_width` and :func:`text_height` say.
        words: or pieces of words, at least one.
        values: of each, ``[words]``, >= 0.
        columns: letters of a line, >= 1.

    Raises:
        InputError: there is not one value for each word, or one is negative or not finite; matplotlib is missing.
    """
    require(
        len(words) >= 1 and values.shape == (len(words),),
        f"{tuple(values.shape)} values for {len(words)} words: give one for each",
    )
    values = values.detach().float().cpu()
    require(bool((values >= 0).all() & values.isfinite().all()), "a value of a word is negative or not finite")
    with importing_matplotlib():
        from matplotlib.patches import Rectangle
    shares = (values / values.max().clamp(min=1e-30)).tolist()
    places = _places(words, columns)
    for word, share, (line, at) in zip(words, shares, places, strict=True):
        axes.add_patch(Rectangle((at - 0.25, line), len(word) + 0.5, 0.9, facecolor=_COLOUR, alpha=share, linewidth=0))
        axes.text(at, line + 0.45, word, family="DejaVu Sans Mono", fontsize=_SIZE, va="center", clip_on=False)
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(places[-1][0] + 1, 0))
    axes.set_axis_off()


def _places(words: Sequence[str], columns: int) -> list[tuple[int, int]]:
    """Return line and first letter of each word; a word that is longer than a line has one of its own."""
    places: list[tuple[int, int]] = []
    line = at = 0
    for word in words:
        if at > 0 and at + len(word) > columns:
            line, at = line + 1, 0
        places.append((line, at))
        at += len(word) + 1
    return places
