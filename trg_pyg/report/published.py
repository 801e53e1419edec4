"""Accuracies beside those that others published, read from ``published.csv``.

The file has what stands in the READMEs and tables of the repositories that it names; what was only recalled, or told at
second hand, is not in it. A figure that several print alike is there once. Methods have the names of this package where
it has them, so that another figure, or another pair, is another line.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trg_pyg._program import markdown_table
from trg_pyg.config.recipes import RECIPES
from trg_pyg.errors import few, require
from trg_pyg.models.published import published_teachers
from trg_pyg.report.comparison import ComparedStudy, key_name, studies_of
from trg_pyg.report.paired import paired_difference
from trg_pyg.report.rows import numbers, result_rows
from trg_pyg.report.runs import find_runs
from trg_pyg.report.table import cell
from trg_pyg.runs import data_name, differing, shown, telling

_KEY = "test/top1"
# Of the students that RepDistiller trains more slowly.
_RATES = {"mobilenetv2": 0.01, "shufflenet_v1": 0.01, "shufflenet_v2": 0.01}


@dataclass(frozen=True)
class Figure:
    """A published accuracy.

    Attributes:
        data: as folders of runs have it, such as ``"CIFAR100-LT100"``; ``"ImageNet"``.
        teacher: network, as a configuration has it.
        student: network.
        method: name of its row, ``"Vanilla"`` for the student alone, ``"teacher"`` for the teacher.
        top1: in percent.
        recipe: of :mod:`trg_pyg.config.recipes`, by which the pair is trained.
        source: repository and the file in it.
        remark: where it was trained, or is reported, otherwise.
    """

    data: str
    teacher: str
    student: str
    method: str
    top1: float
    recipe: str
    source: str
    remark: str

    @property
    def pair(self) -> tuple[str, str, str]:
        """Data, teacher and student."""
        return self.data, self.teacher, self.student


def figures() -> list[Figure]:
    """Return all published accuracies, those of a pair one after another."""
    with Path(__file__).with_name("published.csv").open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    return [Figure(**row | {"top1": float(row["top1"])}) for row in rows]


def published_report(paths: Sequence[Path]) -> str:
    """Return a table for each study of which there are published figures, ours beside them.

    Args:
        paths: folders of runs, and results files.

    Raises:
        InputError: there are no runs, or no published figures of any of them.
    """
    found = find_runs(paths)
    known = figures()
    tables, without = [], []
    for study in studies_of(found, None):
        pair = _pair(study)
        of_pair = [figure for figure in known if figure.pair == pair]
        if of_pair and study.methods:
            tables.append(_table(study, of_pair))
        else:
            without.append(study.title)
    none = f"{few(without)}: no published figures of that pair and these data"
    of_data = few(list(dict.fromkeys(figure.data for figure in known)))
    require(bool(tables), f"{none}, there are some of {of_data}; leave --published out for the table alone")
    return "\n\n".join([*tables, *([f"{none}."] if without else []), *found.notes])


def _pair(study: ComparedStudy) -> tuple[str, str, str]:
    settings = max((run.settings for run in [*study.runs, *study.unfinished]), key=len)  # that of one with a teacher
    teacher = settings.get("teacher") or {}
    data, weights = data_name(settings), published_teachers().get(str(teacher.get("weights")))
    # A folder does not say what its images are; a teacher whose accuracy on them was found to be the stated one does.
    if data == "ImageFolder" and weights is not None:
        data = weights.data
    return data, teacher.get("name", ""), settings["student"]["name"]


def _table(study: ComparedStudy, published: Sequence[Figure]) -> str:
    rows = [["method", "seeds", study.score.title, "published", "difference [95 %]", "source"]]
    otherwise = _otherwise(study.runs[0].settings, published[0])
    mark = " *" if otherwise else ""
    if study.teacher is not None and "top1" in study.teacher[1]:
        name, metrics = study.teacher
        rows += _lines(f"teacher {name}", "", [metrics["top1"]], _of("teacher", published))
    for row in result_rows(study):
        rows += _lines(row.name + mark, numbers(row.seeds), row.values(_KEY), _of(row.name, published))
    parts = [f"{study.title}, last epoch, beside published figures", markdown_table(rows)]
    if otherwise:
        parts.append(f"* Trained otherwise than by the recipe {published[0].recipe} of the figures: {otherwise}.")
    parts.append(
        "Options of a method are not compared. The interval is that of the mean over our seeds; a published figure "
        "varies over seeds, machines and sources too, and is of the best epoch in some."
    )
    if study.unfinished:
        parts.append(f"Left out, since they are unfinished: {few([run.title for run in study.unfinished])}.")
    return "\n\n".join(parts)


def _of(method: str, published: Iterable[Figure]) -> list[Figure]:
    return [figure for figure in published if figure.method == method]


def _lines(name: str, seeds: str, values: Sequence[float], published: Sequence[Figure]) -> list[list[str]]:
    """Return the row of a method, and one below it for each further figure."""
    ours = [name, seeds, cell([{_KEY: value} for value in values], _KEY)]
    if not published:
        return [[*ours, "", "", ""]]
    lines = []
    for figure in published:
        difference = paired_difference(values, [figure.top1] * len(values))
        source = figure.source + (f" ({figure.remark})" if figure.remark else "")
        lines.append([*ours, f"{figure.top1:.2f}", str(difference), source])
        ours = ["", "", ""]
    return lines


def _otherwise(settings: dict[str, Any], figure: Figure) -> str:
    """Return in what a run was trained otherwise than those of the published figures; nothing where in nothing."""
    expected = RECIPES[figure.recipe]
    if figure.recipe == "crd":
        expected = replace(expected, lr=_RATES.get(figure.student, expected.lr))
    ours, theirs = telling({"train": settings["train"]}), telling({"train": asdict(expected)})
    heldout = (settings["data"].get("init_args") or {}).get("heldout")
    ours |= {} if heldout is None else {"data.heldout": heldout}
    told = [
        f"{key_name(key).removeprefix('train.')} {shown(ours.get(key))}, not {shown(theirs.get(key))}"
        for key in differing([ours, theirs])
    ]
    return "; ".join(told)
