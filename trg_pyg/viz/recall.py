"""Edge recall over the epochs of trainings."""

from collections.abc import Mapping, Sequence
from typing import Any

from trg_pyg.errors import require
from trg_pyg.graphs.recall import corrected_recall
from trg_pyg.viz.drawing import in_legend

# Okabe and Ito's colours without yellow, and marks, so that lines can be told apart without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


def draw_edge_recall(
    axes: Any, histories: Mapping[str, Sequence[Mapping[str, float]]], metric: str = "graph/edge_recall"
) -> None:
    """Draw the edge recall of each training over its epochs, and dashed what random edges would have.

    The legend says the last figure and the corrected one, (recall - chance) / (1 - chance).

    Args:
        axes: matplotlib's, to draw in.
        histories: metrics of every epoch by name of the training; epochs without the metric are passed over, and
            chance is that of the last one, if it says it.
        metric: its name; that of its chance level is the same with ``_chance``.

    Raises:
        InputError: a training has no epoch with the metric.
    """
    for number, (name, history) in enumerate(histories.items()):
        points = [(epoch["epoch"], epoch[metric]) for epoch in history if metric in epoch]
        require(len(points) > 0, f"{name}: no epoch has {metric}")
        colour, recall = _COLOURS[number % len(_COLOURS)], points[-1][1]
        label = f"{name}: {recall:.2f}"
        chance = [epoch for epoch in history if metric in epoch][-1].get(f"{metric}_chance")
        if chance is not None:
            corrected = corrected_recall(recall, chance)
            label += f", chance {chance:.2g}" + ("" if corrected is None else f", corrected {corrected:.2f}")
            axes.axhline(chance, color=colour, linestyle="--", linewidth=1)
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            label=in_legend(label),
        )
    axes.set(xlabel="epoch", ylabel="edge recall", ylim=(0, 1))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
