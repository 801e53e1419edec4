"""The figures of a study's table."""

from collections.abc import Sequence
from dataclasses import dataclass

from trg_pyg.metrics import Group
from trg_pyg.report.comparison import ComparedStudy, key_name
from trg_pyg.report.page import Table
from trg_pyg.report.paired import Difference, paired_difference
from trg_pyg.report.table import cell, last_epoch, metrics_shown
from trg_pyg.runs import shown


@dataclass(frozen=True)
class ResultRow:
    """What a method came to.

    Attributes:
        name: of the method.
        seeds: of its finished runs, ascending.
        last: metrics of the last epoch, a run for each seed.
        common: the seeds that the reference has too, which the difference is over.
        difference: of the score to the reference in points, seed by seed; ``None`` for the reference, and where they
            have no seed in common.
    """

    name: str
    seeds: list[int]
    last: list[dict[str, float]]
    common: list[int]
    difference: Difference | None

    def values(self, metric: str) -> list[float]:
        """Return a metric of the last epoch, one a seed that has it."""
        return [run[metric] for run in self.last if metric in run]


def result_rows(study: ComparedStudy) -> list[ResultRow]:
    """Return a row for each method of a study, in the order of the table."""
    last = {
        name: {seed: last_epoch(run.history) for seed, run in of_method.items()}
        for name, of_method in study.methods.items()
    }
    reference = None if study.reference is None else last[study.reference]
    rows = []
    for name, runs in last.items():
        common = [] if reference is None or name == study.reference else sorted(set(runs) & set(reference))
        difference = None
        if reference is not None and common:
            difference = paired_difference(
                [runs[seed][study.score.key] for seed in common], [reference[seed][study.score.key] for seed in common]
            )
        rows.append(ResultRow(name, list(runs), list(runs.values()), common, difference))
    return rows


def accuracy_table(study: ComparedStudy, rows: Sequence[ResultRow]) -> list[list[str]]:
    """Return the titles and the cells of a study's accuracies after the last epoch, the teacher first."""
    columns = _columns(rows, "score", "shots")
    several = ["seeds"] if len({tuple(row.seeds) for row in rows}) > 1 else []
    sure = any(row.difference is not None and row.difference.low is not None for row in rows)
    compared = (
        "" if study.reference is None else f"{study.score.title} over {study.reference}{' [95 %]' if sure else ''}"
    )
    titles = ["method", *several]
    for title in columns:
        titles.append(title)
        if title == study.score.title and compared:
            titles += [compared, "p"] if sure else [compared]
    table = [titles]
    if study.teacher is not None:
        name, metrics = study.teacher
        measured = {f"test/{key}": value for key, value in metrics.items()}
        cells = {title: cell([measured], key) for title, key in columns.items()}
        table.append([f"teacher {name}", *(cells.get(title, "") for title in titles[1:])])
    for row in rows:
        cells = {title: cell(row.last, key) for title, key in columns.items()}
        cells |= {"method": row.name, "seeds": numbers(row.seeds)}
        if compared:
            cells[compared] = _difference(study, row)
            cells["p"] = "" if row.difference is None else _p(row.difference)
        table.append([cells.get(title, "") for title in titles])
    return table


def recipes_table(pair: str, studies: Sequence[ComparedStudy]) -> Table:
    """Return the methods of all studies of a pair in one table, with a column for each setting that differs."""
    keys = list(studies[0].recipe)
    references = {study.reference for study in studies} - {None}
    score, over = studies[0].score, f"over {next(iter(references)) if len(references) == 1 else 'its reference'}"
    titles = ["method", *map(key_name, keys), "seeds", score.title, *([f"{score.title} {over}"] if references else [])]
    table = [titles]
    for study in studies:
        recipe = [shown(value) for value in study.recipe.values()]
        for row in result_rows(study):
            compared = [_difference(study, row)] if references and study.reference else []
            cells = [row.name, *recipe, numbers(row.seeds), cell(row.last, score.key), *compared]
            table.append([*cells, *[""] * (len(titles) - len(cells))])
    about = (
        f"{pair}: every method by every recipe, and what differs between the recipes; {score.title} of the last epoch"
        f"{', differences within a recipe only' if references else ''}."
    )
    return Table(f"recipes of {pair}", table, about)


def cost_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    """Return the titles and the cells of what is not of the last epoch: the best one, and costs."""
    columns = _columns(rows, "best", "cost")
    titles = ["method"]
    for title in columns:
        titles += [title, "at epoch"] if title == "best epoch" else [title]
    table = [titles]
    for row in rows:
        cells = {title: cell(row.last, key) for title, key in columns.items()}
        cells |= {"method": row.name, "at epoch": _span(row.values("best/epoch"))}
        table.append([cells.get(title, "") for title in titles])
    return table


def _columns(rows: Sequence[ResultRow], *groups: Group) -> dict[str, str]:
    runs = [run for row in rows for run in row.last]
    return {metric.title: metric.key for metric in metrics_shown(runs, *groups)}


def _difference(study: ComparedStudy, row: ResultRow) -> str:
    if row.name == study.reference:
        return ""
    if row.difference is None:
        return "no seed in common"
    fewer = row.common != row.seeds
    return str(row.difference) + (f" ({seeds(row.common)})" if fewer else "")


def _p(difference: Difference) -> str:
    if difference.p is None:
        return ""
    return "< 0.001" if difference.p < 0.001 else f"{difference.p:.3f}"


def _span(epochs: Sequence[float]) -> str:
    if not epochs:
        return ""
    low, high = int(min(epochs)), int(max(epochs))
    return str(low) if low == high else f"{low} to {high}"


def numbers(values: Sequence[int]) -> str:
    """Return whole numbers as a list for a reader."""
    return ", ".join(map(str, values))


def seeds(values: Sequence[int]) -> str:
    """Return seeds for a reader: ``seed 0`` or ``seeds 0, 1``."""
    return f"seed{'' if len(values) == 1 else 's'} {numbers(values)}"
