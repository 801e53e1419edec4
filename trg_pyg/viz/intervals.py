"""Differences with their confidence intervals, one below the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trg_pyg.viz.figure import INK, label_rows, new_figure, styled
from trg_pyg.viz.line_style import LineStyle, line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Interval:
    """A mean with its interval and the values that it is of.

    Attributes:
        centre: the mean.
        low: lower end; ``None`` where a single value gives no interval.
        high: upper end.
        values: one a seed.
    """

    centre: float
    low: float | None
    high: float | None
    values: Sequence[float]


@styled
def plot_intervals(
    intervals: Mapping[str, Interval],
    *,
    xlabel: str = "",
    title: str = "",
    styles: Mapping[str, LineStyle] | None = None,
    width: float = 5.0,
) -> "Figure":
    """Draw each interval as a line with its mean, its values as ticks, and zero.

    Args:
        intervals: by name.
        xlabel: what they are of, with the unit.
        title: of the figure.
        styles: of the names; ``None`` chooses.
        width: of the figure in inches; the height follows from the number of names.
    """
    if styles is None:
        styles = line_styles([intervals])
    figure = new_figure(width, 0.9 + 0.29 * len(intervals))
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    for row, (name, each) in enumerate(intervals.items()):
        style = styles[name]
        if each.low is not None and each.high is not None:
            axes.plot([each.low, each.high], [row, row], color=style.color, linewidth=2, solid_capstyle="butt")
            axes.plot(each.values, [row] * len(each.values), "|", color=INK, markersize=7, markeredgewidth=0.8)
        axes.plot([each.centre], [row], color=style.color, marker=style.marker, markersize=7, linestyle="")
    label_rows(axes, list(intervals), xlabel, title)
    return figure
