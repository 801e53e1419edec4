"""The blocks of a section that need metrics alone: results, curves, loss parts, groups of classes."""

from collections.abc import Mapping, Sequence
from statistics import mean

from trg_pyg._program import program
from trg_pyg.data.splits.long_tail import SHOTS
from trg_pyg.metrics import PASSES, is_loss_part
from trg_pyg.report.comparison import ComparedStudy
from trg_pyg.report.page import Block, Picture, Table
from trg_pyg.report.rows import ResultRow, accuracy_table, cost_table, seeds
from trg_pyg.report.table import about, notes_on
from trg_pyg.runs import Run, data_shown
from trg_pyg.viz.bars import plot_bars
from trg_pyg.viz.curves import Curve, plot_curves
from trg_pyg.viz.intervals import Interval, plot_intervals
from trg_pyg.viz.line_style import LineStyle, line_styles

Styles = Mapping[str, LineStyle]
_TOGETHER = 12  # curves that can be told apart in one picture
_PANEL = (3.8, 2.3)


def results_block(study: ComparedStudy, rows: Sequence[ResultRow], styles: Styles) -> Block:
    """Return the table of results, and the differences to the reference as a picture."""
    lines = list(study.notes)
    lines.append(
        f"Data: {', '.join(dict.fromkeys(data_shown(run.settings) for run in [*study.runs, *study.unfinished]))}."
    )
    if not rows:
        return Block("Results", [*lines, "None of these runs is finished, so there is no table."])
    heldout = all(study.score.of("heldout").key in run for row in rows for run in row.last)
    chosen = "a part of the training split, held out" if heldout else "the same split, so it looks better than it is"
    lines.append(
        f"Accuracies of the last epoch on the {study.evaluated} split, in percent{_over_seeds(study, rows)}. The best "
        f"epoch is chosen on {chosen}. Costs are wall time, the mean over all epochs; students that were trained side "
        "by side have equal shares of it."
    )
    lines += notes_on({row.name: list(study.methods[row.name].values()) for row in rows})
    lines += _about_differences(study, rows)
    tables = [Table("results", accuracy_table(study, rows), f"{study.title}, last epoch")]
    costs = cost_table(rows)
    if len(costs[0]) > 1:
        notes = about([PASSES] if PASSES.title in costs[0] else [])
        tables.append(Table("costs", costs, ". ".join(["Best epoch, and what a step and an epoch cost", *notes])))
    return Block("Results", lines, tables, _interval_picture(study, rows, styles))


def _over_seeds(study: ComparedStudy, rows: Sequence[ResultRow]) -> str:
    if len(study.seeds) == 1:
        return f", {seeds(study.seeds)}"
    same = len({tuple(row.seeds) for row in rows}) == 1
    which = seeds(study.seeds) if same else "the seeds of each row"
    return f": mean ± standard deviation over {which}"


def _about_differences(study: ComparedStudy, rows: Sequence[ResultRow]) -> list[str]:
    reference = study.reference
    others = [row for row in rows if row.name != reference]
    if reference is None or not others:
        return []
    lines = []
    if any(row.difference is not None and row.difference.seeds > 1 for row in others):
        lines.append(
            f"Differences to {reference} are taken seed by seed, with the 95 % confidence interval of Student's t and "
            f"the two-sided p value of the paired t test. Both tell of seeds only: the {study.evaluated} split is "
            "the same for all runs. No p value is adjusted for the number of rows."
        )
    if any(row.difference is not None and row.difference.seeds == 1 for row in others):
        lines.append("A difference of a single seed has no interval and no p value: it may be chance.")
    if any(row.common and not row.common == row.seeds == list(study.methods[reference]) for row in others):
        lines.append(f"Some have other seeds than {reference}: a difference is over the seeds that both have.")
    return lines


def _interval_picture(study: ComparedStudy, rows: Sequence[ResultRow], styles: Styles) -> list[Picture]:
    compared = [row for row in rows if row.difference is not None]
    # A single seed of a single method is a point, and stands in the table.
    if study.reference is None or sum(len(row.common) for row in compared) < 2:
        return []
    reference = study.methods[study.reference]
    intervals, told = {}, []
    for row in compared:
        difference = row.difference
        assert difference is not None
        own = dict(zip(row.seeds, row.values(study.score.key), strict=True))
        values = [own[seed] - reference[seed].history[-1][study.score.key] for seed in row.common]
        intervals[row.name] = Interval(difference.mean, difference.low, difference.high, values)
        told.append(f"{row.name} {difference}")
    figure = plot_intervals(
        intervals,
        xlabel=f"{study.score.title} over {study.reference}, points",
        title="Difference, 95 % interval, seeds as ticks"
        if any(each.low is not None for each in intervals.values())
        else "Difference, a single seed",
        styles=styles,
    )
    alt = f"{study.score.title.capitalize()} over {study.reference} in points: {'; '.join(told)}."
    return [Picture("difference", figure, alt)]


def unfinished_block(study: ComparedStudy) -> Block | None:
    """Return the list of the runs that are left out of everything else."""
    if not study.unfinished:
        return None
    rows = [["run", "epochs", "of", f"last {study.score.title}"]]
    for run in study.unfinished:
        rows.append([run.title, str(run.done), str(run.epochs), "" if run.score is None else f"{run.score:.2f}"])
    line = f"Unfinished runs are in no mean and no picture; {program('run')} --resume goes on with them."
    return Block("Unfinished runs", [line], [Table("unfinished", rows)])


def curves_block(study: ComparedStudy, styles: Styles) -> Block:
    """Return the score over epochs, on evaluated and on training images."""
    several = any(len(of_method) > 1 for of_method in study.methods.values())
    lines: list[str] = []
    pictures: list[Picture] = []
    metrics = {study.score.key: study.evaluated, study.score.of("train").key: "training"}
    for metric, images in metrics.items():
        what = f"{images} {study.score.title}"
        label = f"{what}, {study.score.unit}"
        measured = _curves(study, metric)
        curves = {name: of_seeds for name, each in measured.items() if (of_seeds := _no_points(each))}
        once = [name for name in measured if name not in curves]
        if not curves:
            when = f"measured once, at epoch {max(next(iter(measured.values()))[0])}" if measured else "no run has it"
            lines.append(f"No curve of {what}: {when}.")
            continue
        if once:
            lines.append(f"No curve of {what} of {', '.join(once)}: measured once.")
        if len(curves) <= _TOGETHER:
            alt = f"{label} over epochs. At the end: {_ends(curves)}."
            pictures.append(Picture(metric, plot_curves(curves, ylabel=label, styles=styles), alt))
        else:
            pictures += _curve_panels(study, metric, label, curves, styles)
    if pictures and several:
        lines.insert(0, "Thick: mean over seeds; thin: each seed.")
    return Block("Training curves", lines, pictures=pictures)


def _curve_panels(
    study: ComparedStudy, metric: str, label: str, curves: Mapping[str, list[Curve]], styles: Styles
) -> list[Picture]:
    reference = {name: of_seeds for name, of_seeds in curves.items() if name == study.reference}
    return [
        Picture(
            f"{metric} {name}",
            plot_curves({name: of_seeds} | reference, ylabel=label, styles=styles, size=_PANEL),
            f"{label} over epochs. At the end: {_ends({name: of_seeds} | reference)}.",
        )
        for name, of_seeds in curves.items()
        if name != study.reference
    ]


def _curves(study: ComparedStudy, metric: str) -> dict[str, list[Curve]]:
    curves = {
        name: [_curve(run, metric) for run in runs.values() if any(metric in epoch for epoch in run.history)]
        for name, runs in study.methods.items()
    }
    return {name: of_seeds for name, of_seeds in curves.items() if of_seeds}


def _curve(run: Run, metric: str) -> Curve:
    return {int(epoch["epoch"]): epoch[metric] for epoch in run.history if metric in epoch and "epoch" in epoch}


def _no_points(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves of two epochs or more: a single point is no curve."""
    return [curve for curve in curves if len(curve) > 1]


def _ends(curves: Mapping[str, Sequence[Curve]], precision: str = ".1f") -> str:
    return ", ".join(
        f"{name} {mean(curve[max(curve)] for curve in of_seeds):{precision}}" for name, of_seeds in curves.items()
    )


def losses_block(study: ComparedStudy) -> Block:
    """Return the parts of the loss over epochs, a panel for each method."""
    parts = {
        name: [key for key in runs[min(runs)].history[-1] if is_loss_part(key)] for name, runs in study.methods.items()
    }
    if all(len(run.history) < 2 for run in study.runs):
        return Block("Loss parts", ["Left out: a single epoch gives no curve."])
    # A part has the same colour in every panel.
    styles = line_styles([[key.removeprefix("train/") for key in keys] for keys in parts.values()])
    pictures = []
    for name, keys in parts.items():
        runs = study.methods[name].values()
        every = {key.removeprefix("train/"): _no_points([_curve(run, key) for run in runs]) for key in keys}
        curves = {key: of_seeds for key, of_seeds in every.items() if of_seeds}
        if curves:
            figure = plot_curves(curves, ylabel="loss part", title=name, styles=styles, log=True, size=_PANEL)
            alt = f"Loss parts of {name}; at the end: {_ends(curves, '.3g')}."
            pictures.append(Picture(f"losses {name}", figure, alt))
    lines = ["Means over an epoch, before weights; axes are logarithmic where all values are positive."]
    return Block("Loss parts", lines, pictures=pictures)


def groups_block(study: ComparedStudy, rows: Sequence[ResultRow], styles: Styles) -> Block | None:
    """Return accuracies of classes with many, medium and few training images; ``None`` where data have no long tail."""
    if not study.long_tailed:
        return None
    pictures = []
    for group, images in SHOTS.items():
        values = {row.name: row.values(f"test/{group}") for row in rows}
        values = {name: of_seeds for name, of_seeds in values.items() if of_seeds}
        if not values:
            continue
        figure = plot_bars(
            values, xlabel=f"{study.evaluated} accuracy, %", title=f"{group}: {images} images", styles=styles, width=3.9
        )
        told = ", ".join(f"{name} {mean(of_seeds):.1f}" for name, of_seeds in values.items())
        alt = f"Accuracy in percent of classes with {images} training images: {told}."
        pictures.append(Picture(group, figure, alt))
    words = [f"{group} ({images})" for group, images in SHOTS.items()]
    lines = [
        f"Mean accuracy of the classes with {', '.join(words[:-1])} and {words[-1]} training images, last epoch. "
        "Bars: mean over seeds; whiskers: standard deviation; ticks: seeds."
    ]
    return Block("Many, medium and few", lines, pictures=pictures)
