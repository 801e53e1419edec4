"""What changes for classes with many training images, and what for those with few."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trg_pyg.viz.figure import INK, new_figure, shown_name, styled
from trg_pyg.viz.line_style import REFERENCE_STYLE, LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_class_size(
    images: Sequence[int],
    changes: Sequence[float],
    *,
    ylabel: str = "",
    title: str = "",
    style: LineStyle = REFERENCE_STYLE,
    size: tuple[float, float] = (3.6, 2.8),
) -> "Figure":
    """Draw the change of each class over its number of training images, and the bounds of many, medium and few.

    Args:
        images: training images of each class, C numbers.
        changes: of each class, C numbers.
        ylabel: what changes, with its unit.
        title: of the figure.
        style: colour and marker.
        size: width and height of the figure in inches.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = new_figure(*size)
    axes = figure.subplots()
    axes.axhline(0, color=INK, linewidth=0.8)
    for bound in (20, 100):
        axes.axvline(bound, color="#888888", linewidth=0.8, linestyle=":")
    axes.plot(images, changes, linestyle="", marker=style.marker, color=style.color, markersize=4, alpha=0.7)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.invert_xaxis()
    axes.set_xlabel("training images of the class")
    axes.set_ylabel(ylabel)
    axes.set_title(shown_name(title))
    return figure
