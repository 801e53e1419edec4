"""Accuracy of one method minus that of another over the epochs, of all classes and of each group of a long tail.

    python experiments/studies/lasting/curves.py experiments/studies/results/lasting_decisive.jsonl TRG base curves.png

A thin line is a seed, a thick one their mean.
"""

import sys
from pathlib import Path

from trg_pyg.errors import require
from trg_pyg.report.results import Results
from trg_pyg.viz.curves import plot_curves
from trg_pyg.viz.figure import to_png

Curves = dict[str, list[dict[int, float]]]
GROUPS = {"all": "test/top1", "many": "test/many", "medium": "test/medium", "few": "test/few"}


def differences(results: Results, method: str, reference: str) -> Curves:
    """Return the difference of each seed in points, by group and by epoch that was measured.

    Raises:
        InputError: a method is not in the results, or the two have no seed in common.
    """
    runs = {(run.method, run.seed): run.history for run in results.runs}
    methods = dict.fromkeys(run.method for run in results.runs)
    for name in (method, reference):
        require(name in methods, f"no method {name}: the results have {', '.join(methods)}")
    seeds = [seed for name, seed in runs if name == method and (reference, seed) in runs]
    require(len(seeds) > 0, f"{method} and {reference} have no seed in common")
    curves: Curves = {}
    for seed in seeds:
        pairs = list(zip(runs[method, seed], runs[reference, seed], strict=True))
        for group, metric in GROUPS.items():
            points = {int(a["epoch"]): a[metric] - b[metric] for a, b in pairs if metric in a and metric in b}
            if points:
                curves.setdefault(group, []).append(points)
    return curves


if __name__ == "__main__":
    file, method, reference, output = sys.argv[1:]
    curves = differences(Results.read(Path(file)), method, reference)
    figure = plot_curves(curves, ylabel=f"top-1 of {method} minus that of {reference}, points", size=(6.5, 3.6))
    Path(output).write_bytes(to_png(figure))
