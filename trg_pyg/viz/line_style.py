"""Colours, markers and dashes by which methods are told apart, also by colour-blind readers and in grey print."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LineStyle:
    """How a method is drawn.

    Attributes:
        color: hexadecimal.
        marker: of matplotlib.
        dash: line style of matplotlib.
    """

    color: str
    marker: str
    dash: str


# Okabe and Ito, "Color Universal Design", 2008, without the yellow, which white paper swallows. Black is the reference.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
REFERENCE_STYLE = LineStyle("#000000", "o", "-")


def _style(number: int) -> LineStyle:
    """Return one of 168 styles; six in a row differ in colour, and in shape too."""
    colors = len(_COLORS)
    return LineStyle(
        _COLORS[number % colors],
        _MARKERS[(number % colors + number // colors) % len(_MARKERS)],
        _DASHES[number // colors % len(_DASHES)],
    )


def line_styles(groups: Iterable[Iterable[str]], reference: str | None = None) -> dict[str, LineStyle]:
    """Return a style for every name, the same wherever it occurs.

    Args:
        groups: names that are drawn together; within a group styles differ as long as there are enough, and colours
            before markers and dashes.
        reference: the name that is black.
    """
    numbers: dict[str, int] = {}
    for group in groups:
        names = [name for name in dict.fromkeys(group) if name != reference]
        used = {numbers[name] for name in names if name in numbers}
        for name in names:
            if name not in numbers:
                numbers[name] = _first_free(used)
                used.add(numbers[name])
    styles = {name: _style(number) for name, number in numbers.items()}
    return styles if reference is None else {reference: REFERENCE_STYLE, **styles}


def _first_free(used: set[int]) -> int:
    # A colour that nobody of the group has, if there is one.
    colors = {number % len(_COLORS) for number in used}
    free = [number for number in range(len(_COLORS)) if number not in colors]
    if free:
        return free[0]
    number = 0
    while number in used:
        number += 1
    return number
