"""Curves over the epochs of trainings."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from trg_pyg.viz.figure import new_figure, shown_name, styled
from trg_pyg.viz.line_style import LineStyle, line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Mapping[int, float]
_WIDE_NAME = 24
_FEW_POINTS = 12


@styled
def plot_curves(
    curves: Mapping[str, Sequence[Curve]],
    *,
    ylabel: str = "",
    title: str = "",
    styles: Mapping[str, LineStyle] | None = None,
    log: bool = False,
    size: tuple[float, float] = (5.0, 3.2),
) -> "Figure":
    """Draw the mean of some curves as a thick line, and each of them as a thin one.

    Args:
        curves: of each name, a curve for each seed: values by epoch. The mean is drawn at the epochs that all of them
            have.
        ylabel: what the values are, with their unit.
        title: of the figure.
        styles: of the names; ``None`` chooses.
        log: a logarithmic axis, where all values are positive.
        size: width and height of the axes in inches; the legend comes below.
    """
    if styles is None:
        styles = line_styles([curves])
    columns = 1 if any(len(name) > _WIDE_NAME for name in curves) else 2 if size[0] > 4 else 3
    rows = -(-len(curves) // columns)
    figure = new_figure(size[0], size[1] + 0.2 * rows)
    axes = figure.subplots()
    lines = []
    for name, of_seeds in curves.items():
        style = styles[name]
        if len(of_seeds) > 1:
            for curve in of_seeds:
                epochs = sorted(curve)
                axes.plot(epochs, [curve[epoch] for epoch in epochs], color=style.color, linewidth=0.7, alpha=0.45)
        epochs = sorted(set.intersection(*(set(curve) for curve in of_seeds)))
        means = [mean(curve[epoch] for curve in of_seeds) for epoch in epochs]
        # In the middle of a long curve a marker every so often is enough to tell it in grey print.
        every = max(1, len(epochs) // _FEW_POINTS)
        lines += axes.plot(
            epochs,
            means,
            color=style.color,
            linestyle=style.dash,
            marker=style.marker,
            markersize=4,
            markevery=every,
            linewidth=1.7,
        )
    _finish(axes, curves, ylabel, title, log)
    figure.legend(lines, [shown_name(name) for name in curves], loc="outside lower left", ncols=columns, fontsize=8)
    return figure


def _finish(axes, curves, ylabel: str, title: str, log: bool) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.ticker import MaxNLocator

    if log and all(value > 0 for of_seeds in curves.values() for curve in of_seeds for value in curve.values()):
        _logarithmic(axes)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.set_title(shown_name(title, 60))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=8))


def _logarithmic(axes) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # Plain numbers: what matplotlib writes itself is a formula. Within two decades powers of ten are too few.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
