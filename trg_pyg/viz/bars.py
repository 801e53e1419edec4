"""Bars of values that several seeds gave."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from trg_pyg.viz.figure import INK, label_rows, new_figure, styled
from trg_pyg.viz.line_style import LineStyle, line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAIN, _LOSS = "#0072B2", "#D55E00"


@styled
def plot_bars(
    values: Mapping[str, Sequence[float]],
    *,
    xlabel: str = "",
    title: str = "",
    styles: Mapping[str, LineStyle] | None = None,
    width: float = 5.0,
) -> "Figure":
    """Draw the mean of each name's values as a bar from top to bottom, with their standard deviation and each value.

    Args:
        values: of each name, one a seed, at least one.
        xlabel: what the values are, with their unit.
        title: of the figure.
        styles: of the names; ``None`` chooses.
        width: of the figure in inches; the height follows from the number of names.
    """
    if styles is None:
        styles = line_styles([values])
    figure = new_figure(width, 0.8 + 0.27 * len(values))
    axes = figure.subplots()
    for row, (name, of_seeds) in enumerate(values.items()):
        error = stdev(of_seeds) if len(of_seeds) > 1 else None
        axes.barh(row, mean(of_seeds), color=styles[name].color, alpha=0.55, height=0.72)
        if error is not None:
            axes.errorbar(mean(of_seeds), row, xerr=error, color=INK, linewidth=1.2, capsize=3)
            axes.plot(of_seeds, [row] * len(of_seeds), "|", color=INK, markersize=6, alpha=0.6, markeredgewidth=0.8)
    if all(value >= 0 for of_seeds in values.values() for value in of_seeds):
        axes.set_xlim(left=0)  # a standard deviation may reach below
    label_rows(axes, list(values), xlabel, title)
    return figure


@styled
def plot_changes(
    changes: Mapping[str, Sequence[float]], *, xlabel: str = "", title: str = "", width: float = 5.0
) -> "Figure":
    """Draw the mean of each name's changes as a bar to the right or the left of zero, and each change as a tick.

    Args:
        changes: of each name, one a seed, at least one.
        xlabel: what changes, with its unit.
        title: of the figure.
        width: of the figure in inches; the height follows from the number of names.
    """
    figure = new_figure(width, 0.8 + 0.22 * len(changes))
    axes = figure.subplots()
    for row, of_seeds in enumerate(changes.values()):
        centre = mean(of_seeds)
        axes.barh(row, centre, color=_GAIN if centre >= 0 else _LOSS, alpha=0.6, height=0.72)
        if len(of_seeds) > 1:
            axes.plot(of_seeds, [row] * len(of_seeds), "|", color=INK, markersize=6, markeredgewidth=0.8)
    axes.axvline(0, color=INK, linewidth=0.8)
    label_rows(axes, list(changes), xlabel, title)
    return figure
