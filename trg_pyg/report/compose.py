"""A report on runs: from their folders and results files to a page."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trg_pyg._files import write_text
from trg_pyg.errors import count, require
from trg_pyg.report.comparison import ComparedStudy, studies_of
from trg_pyg.report.page import Page, Section, Table
from trg_pyg.report.prediction_blocks import prediction_blocks
from trg_pyg.report.predictor import Predictor
from trg_pyg.report.rows import numbers, recipes_table, result_rows
from trg_pyg.report.runs import find_runs
from trg_pyg.report.settings_block import commands_block, commands_of, settings_block
from trg_pyg.report.tracked import Mode, track
from trg_pyg.report.training_blocks import (
    Styles,
    curves_block,
    groups_block,
    losses_block,
    results_block,
    unfinished_block,
)
from trg_pyg.viz.figure import figure_style
from trg_pyg.viz.line_style import REFERENCE_STYLE, line_styles


def report(
    runs: Sequence[Path],
    output: Path = Path("report.html"),
    *,
    reference: str | None = None,
    evaluate: bool = True,
    wandb: Mode = "disabled",
    wandb_project: str = "trg_pyg",
    command: str = "trg_pyg.report.report",
    tell: Callable[[str], None] = lambda line: None,
) -> list[ComparedStudy]:
    """Write a page on runs, and the tables of its results as Markdown beside it.

    Args:
        runs: folders of runs of any height, and results files (``.jsonl``).
        output: the page.
        reference: method that the others are compared with; ``None`` takes KD, or what all results files of a study
            name.
        evaluate: compute the predictions that are not kept yet.
        wandb: whether the same pictures and tables are sent to wandb.
        wandb_project: project in wandb.
        command: what the page says that it was made by.
        tell: is told of each run whose predictions are about to be computed.

    Returns:
        What was compared, a study for each data set, pair of networks and recipe.

    Raises:
        InputError: the runs cannot be read or compared, matplotlib is missing, or the page cannot be written.
    """
    require(output.suffix in (".html", ".htm"), f"output={output}: give a name that ends in .html")
    require(not output.is_dir(), f"output={output} is a folder; give a file such as report.html")
    with figure_style():  # before any work, it refuses where there is no matplotlib
        pass
    found = find_runs(runs)
    studies = studies_of(found, reference)
    styles = line_styles([name for name in study.methods if name != study.reference] for study in studies)
    predictor = Predictor(evaluate, tell)
    page = Page(
        title="Report on distilled students",
        lines=[f"{_about(studies)}. Made by:", *found.notes],
        overview=_overview(studies),
        sections=[_section(study, styles, predictor, command) for study in studies],
        command=command,
    )
    write_text(output, page.html())
    write_text(output.with_suffix(".md"), page.markdown())
    track(page, output, wandb, wandb_project)
    return studies


def _section(study: ComparedStudy, styles: Styles, predictor: Predictor, command: str) -> Section:
    rows = result_rows(study)
    # The reference is black wherever it is one.
    styles = dict(styles) | ({study.reference: REFERENCE_STYLE} if study.reference else {})
    blocks = [results_block(study, rows, styles), unfinished_block(study)]
    if rows:
        blocks += [curves_block(study, styles), losses_block(study), groups_block(study, rows, styles)]
        blocks += prediction_blocks(study, predictor.predict(study), styles)
        blocks.append(settings_block(study))
    blocks.append(commands_block(study, command))
    return Section(study.title, [block for block in blocks if block is not None], commands_of(study))


def _about(studies: Sequence[ComparedStudy]) -> str:
    runs, unfinished = sum(len(study.runs) for study in studies), sum(len(study.unfinished) for study in studies)
    text = count(runs, "finished run")
    if unfinished:
        text += f"; {count(unfinished, 'unfinished run')} left out"
    if len(studies) > 1:
        text += (
            f"; {len(studies)} studies. Runs are compared within a study only: the same data, pair of networks and "
            "recipe"
        )
    return text


def _overview(studies: Sequence[ComparedStudy]) -> list[Table]:
    """Return a table of all studies where there are several pairs, and one of each pair that has several recipes."""
    pairs: dict[str, list[ComparedStudy]] = {}
    for study in studies:
        pairs.setdefault(study.pair, []).append(study)
    tables = [_all_studies(studies)] if len(pairs) > 1 else []
    return tables + [recipes_table(pair, of_pair) for pair, of_pair in pairs.items() if len(of_pair) > 1]


def _all_studies(studies: Sequence[ComparedStudy]) -> Table:
    unfinished = any(study.unfinished for study in studies)
    titles = ["study", "methods", "seeds", "compared with", "best"]
    rows = [[*titles, "unfinished"] if unfinished else titles]
    for study in studies:
        means = {row.name: sum(row.values(study.score.key)) / len(row.seeds) for row in result_rows(study)}
        choose = max if study.score.better == "higher" else min
        best = choose(means, key=lambda name: means[name], default=None)
        shown = "" if best is None else f"{study.score.title} {means[best]:.2f}, {best}"
        row = [study.title, str(len(study.methods)), numbers(study.seeds), study.reference or "", shown]
        rows.append([*row, str(len(study.unfinished))] if unfinished else row)
    return Table("studies", rows, "All studies; their accuracies are not to be compared with one another.", words=True)
