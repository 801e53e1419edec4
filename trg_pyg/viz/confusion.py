"""Confusion matrices side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from trg_pyg.viz.figure import new_figure, shown_name, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBERS = 12  # columns up to which the cells have room for their numbers
_DARK = 60.0  # percent from which white numbers are read better
_NAME = 14
_UPRIGHT = 3  # letters that have room below a column


@styled
def plot_confusion(
    shares: Mapping[str, Tensor], rows: Sequence[str], columns: Sequence[str], *, width: float = 5.0
) -> "Figure":
    """Draw matrices of percentages one below the other, a darker blue for more.

    Args:
        shares: of each title, [R, K] in percent, such as :func:`~trg_pyg.training.confusion.among` gives.
        rows: names of the R true classes.
        columns: names of the K predictions.
        width: of the figure in inches; the height follows from the number of rows.
    """
    figure = new_figure(width, len(shares) * (0.55 + 0.27 * len(rows)) + 0.9)
    grid = figure.subplots(len(shares), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (title, matrix) in zip(grid, shares.items(), strict=True):
        axes.imshow(matrix.nan_to_num().tolist(), cmap="Blues", vmin=0, vmax=100, aspect="auto")
        axes.set_title(shown_name(title, 60))
        axes.set_yticks(range(len(rows)), [shown_name(name, _NAME) for name in rows])
        axes.grid(False)
        axes.tick_params(length=0)
        if len(columns) <= _NUMBERS:
            _write_numbers(axes, matrix)
    shown = [shown_name(name, _NAME) for name in columns]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, shown)) > _UPRIGHT else {}
    grid[-1].set_xticks(range(len(columns)), shown, **slanted)
    grid[-1].set_xlabel("taken for, % of the images of the class")
    return figure


def _write_numbers(axes, matrix: Tensor) -> None:  # type: ignore[no-untyped-def]
    for row, of_row in enumerate(matrix.tolist()):
        for column, value in enumerate(of_row):
            if value == value and round(value) > 0:
                color = "white" if value >= _DARK else "#222222"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
