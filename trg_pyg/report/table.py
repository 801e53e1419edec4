"""The table of a study."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev

import trg_pyg.distillers  # noqa: F401  all of them are known then
from trg_pyg._discover import subclasses
from trg_pyg._program import markdown_table
from trg_pyg.distillers.base import Distiller
from trg_pyg.metrics import OWN_HELDOUT, PASSES, Group, Metric, metrics_of, score_of
from trg_pyg.report.paired import paired_difference
from trg_pyg.runs import History, Run

_SHOWN: tuple[Group, ...] = ("score", "shots", "best", "cost")


def shown_in_table(metric: str) -> bool:
    """Return whether a metric of an epoch, or a test metric of a teacher without its prefix, has a column."""
    return any(metric in (each.key, each.name) for each in metrics_of(*_SHOWN))


def results_table(
    teacher: tuple[str, dict[str, float]] | None,
    results: Mapping[str, Sequence[History]],
    reference: str | None = None,
) -> str:
    """Return a Markdown table, and a line below it on each column whose title needs one.

    It has the last epoch, mean and standard deviation over seeds, one row a method.

    The cost of a step and of an epoch is the mean over all epochs of a run, since a single one says little of a busy
    machine.

    Args:
        teacher: name and test metrics, for the first row.
        results: of each method, the metrics of every epoch for every seed, seeds in the same order.
        reference: method whose score is taken from that of the others, seed by seed, in a column of its own.

    Raises:
        InputError: there is a reference, and a method has not as many seeds.
    """
    last = {method: [last_epoch(history) for history in histories] for method, histories in results.items()}
    score = score_of(run for runs in last.values() for run in runs)
    shown = metrics_shown([run for runs in last.values() for run in runs], *_SHOWN)
    columns = {metric.title: metric.key for metric in shown}
    compared = [] if reference is None else [f"{score.title} over {reference} [95 %]"]
    rows = [["method", *columns, *compared]]
    if teacher is not None:
        name, metrics = teacher
        measured = {f"test/{key}": value for key, value in metrics.items()}
        rows.append([f"teacher {name}", *(cell([measured], key) for key in columns.values()), *("" for _ in compared)])
    for method, runs in last.items():
        row = [method, *(cell(runs, key) for key in columns.values())]
        if reference is not None:
            row.append("" if method == reference else _difference(score, runs, last[reference]))
        rows.append(row)
    return "\n\n".join([markdown_table(rows), *about(shown)])


def notes_on(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return what a reader of a table has to know of its methods: whose form is ours, who had fewer images.

    Args:
        runs: finished ones by method, one at least of each.
    """
    sources = {cls.__name__: getattr(cls, "after", "") for cls in subclasses(Distiller)}
    lines = []
    for method, (first, *_) in runs.items():
        if source := sources.get(str(first.distiller.get("class_path", "")).rpartition(".")[2]):
            lines.append(f"{method}: after {source}, form ours.")
        if held := first.history[-1].get(OWN_HELDOUT):
            lines.append(
                f"{method} holds out {int(held):,} of the training images for itself, and is trained on the others; "
                "data.heldout would take them from all methods."
            )
    return lines


def _difference(score: Metric, runs: list[dict[str, float]], reference: list[dict[str, float]]) -> str:
    a, b = ([run[score.key] for run in each] for each in (runs, reference))
    return str(paired_difference(a, b))


def metrics_shown(runs: Sequence[Mapping[str, float]], *groups: Group) -> list[Metric]:
    """Return the metrics of some groups that runs have, in the order of their columns.

    Passes are not among them where all runs have as many, which then tell nothing.
    """
    alike = len({run[PASSES.key] for run in runs if PASSES.key in run}) == 1
    keys = {key for run in runs for key in run} - ({PASSES.key} if alike else set())
    return [metric for metric in metrics_of(*groups) if metric.key in keys]


def about(metrics: Iterable[Metric]) -> list[str]:
    """Return a sentence on each column whose title does not say what it is."""
    return [f"{metric.title}: {metric.about}." for metric in metrics if metric.about]


def last_epoch(history: History) -> dict[str, float]:
    """Return the metrics of the last epoch, with what a step and an epoch cost on average over all of them."""
    # Not the last epoch's, which may be one of few that have an evaluation.
    keys = [metric.key for metric in metrics_of("cost")]
    costs = {key: [epoch[key] for epoch in history if key in epoch] for key in keys}
    return history[-1] | {key: mean(values) for key, values in costs.items() if values}


def cell(runs: list[dict[str, float]], key: str) -> str:
    """Return mean and standard deviation of a metric as the table shows them; nothing where no run has it."""
    values = [run[key] for run in runs if key in run]
    if not values:
        return ""
    if key == PASSES.key:  # a count, which no seed changes
        return f"{mean(values):.3g}"
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
