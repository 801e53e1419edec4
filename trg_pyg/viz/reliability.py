"""The reliability diagram."""

from typing import TYPE_CHECKING

import torch

from trg_pyg.training.calibration import Calibration
from trg_pyg.viz.figure import INK, new_figure, shown_name, styled
from trg_pyg.viz.line_style import REFERENCE_STYLE, LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_reliability(
    calibration: Calibration,
    *,
    title: str = "",
    note: str | None = None,
    style: LineStyle = REFERENCE_STYLE,
    size: float = 2.75,
) -> "Figure":
    """Draw accuracy over confidence, a bar a bin, and below it how many predictions lie in each bin.

    The diagonal is perfect calibration; the line through the bars' ends stands at the mean confidence of each bin.
    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, figure 1.

    Args:
        calibration: of the predictions.
        title: of the figure.
        note: written into the figure; ``None`` for the expected calibration error.
        style: colour and marker.
        size: width of the figure in inches.
    """
    figure = new_figure(size, size * 1.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    bins = len(calibration.count)
    left = (torch.arange(bins) / bins).tolist()
    there = calibration.count > 0
    accuracy = calibration.accuracy.nan_to_num()
    upper.plot([0, 1], [0, 1], color="#777777", linewidth=1, linestyle="--")
    upper.bar(left, accuracy.tolist(), width=1 / bins, align="edge", color=style.color, alpha=0.35, linewidth=0)
    upper.plot(
        calibration.confidence[there].tolist(),
        calibration.accuracy[there].tolist(),
        color=style.color,
        marker=style.marker,
        markersize=4,
        linewidth=1.2,
    )
    told = f"ECE {100 * calibration.error:.1f} %" if note is None else shown_name(note)
    upper.text(0.04, 0.95, told, transform=upper.transAxes, color=INK, va="top")
    upper.set_ylim(0, 1)
    upper.set_ylabel("accuracy")
    upper.set_title(shown_name(title))
    share = 100 * calibration.count / calibration.count.sum()
    lower.bar(left, share.tolist(), width=1 / bins, align="edge", color=style.color, alpha=0.6, linewidth=0)
    lower.set_ylabel("% of\nimages")
    lower.set_xlim(0, 1)
    lower.set_xlabel("confidence")
    return figure
