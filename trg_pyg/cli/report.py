"""Report on runs: tables, curves and what the networks predict, in one page.

    trg report runs/Digits/resnet20-resnet8 --output report.html
    trg report experiments/studies/results/*.jsonl

What is given is found out by itself: folders of seeds, methods or pairs, and results files, the .jsonl beside a table.
Runs are compared where data, pair of networks and recipe are the same; others have sections of their own. Unfinished
runs are listed and left out. From folders with weights the report makes the predictions too, once: they are kept in the
run's folder as predictions.safetensors, under the hash of the weights.

The page needs no network and no script; report.md beside it has the tables.
"""

import shlex
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from trg_pyg._files import write_text
from trg_pyg._program import program
from trg_pyg.cli._exit import exit_code_of
from trg_pyg.errors import InputError, require
from trg_pyg.metrics import SCORE
from trg_pyg.report.comparison import ComparedStudy, studies_of
from trg_pyg.report.page import Page, Section, Table
from trg_pyg.report.predicted import Predictor
from trg_pyg.report.prediction_blocks import predict_study, prediction_blocks
from trg_pyg.report.rows import numbers, result_rows
from trg_pyg.report.runs import find_runs
from trg_pyg.report.settings_block import commands_block, commands_of, settings_block
from trg_pyg.report.tracked import track
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


def main(argv: Sequence[str] | None = None) -> int:
    """Write a report and return the exit code: 0, or 2 where the input is at fault."""
    given = sys.argv[1:] if argv is None else list(argv)

    def work() -> None:
        options = _parser().parse_args(given)
        report(options, f"{program('report')} {shlex.join(given)}")

    return exit_code_of(work, "report")


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help shows what can be chosen")


def _parser() -> ArgumentParser:
    parser = _Parser(prog=program("report"), description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs, or results files (.jsonl)")
    parser.add_argument(
        "--reference",
        help="method that the others are compared with, seed by seed (default: KD where it is there, else the one that "
        "the results files name)",
    )
    parser.add_argument("--output", type=Path, default=Path("report.html"), help="the page (default: report.html)")
    parser.add_argument(
        "--evaluate",
        action=BooleanOptionalAction,
        default=True,
        help="compute the predictions that are not kept yet; without it only kept ones are used (default: compute)",
    )
    parser.add_argument(
        "--wandb",
        choices=("offline", "online", "disabled"),
        default="disabled",
        help="send the same pictures and tables to wandb (default: disabled)",
    )
    parser.add_argument("--wandb_project", default="trg_pyg", help="project in wandb (default: trg_pyg)")
    return parser


def report(options: Namespace, command: str) -> None:
    """Write the page and the tables, and send them where that is asked for.

    Args:
        options: of the command line.
        command: what was typed.

    Raises:
        InputError: the runs cannot be read or compared, matplotlib is missing, or the page cannot be written.
    """
    file, tables = options.output, options.output.with_suffix(".md")
    require(file.suffix in (".html", ".htm"), f"output={file}: give a name that ends in .html")
    require(not file.is_dir(), f"output={file} is a folder; give a file such as report.html")
    with figure_style():  # before any work, it refuses where there is no matplotlib
        pass
    found = find_runs(options.runs)
    studies = studies_of(found, options.reference)
    styles = line_styles([name for name in study.methods if name != study.reference] for study in studies)
    predictor = Predictor(options.evaluate, lambda line: print(line, flush=True))
    sections = [_section(study, styles, predictor, command) for study in studies]
    overview = _overview(studies) if len(studies) > 1 else None
    page = Page("Report on distilled students", _about(studies, found.notes), overview, sections, command)
    write_text(file, page.html())
    write_text(tables, page.markdown())
    track(page, file, options.wandb, options.wandb_project)
    for study in studies:
        unfinished = f", {len(study.unfinished)} unfinished" if study.unfinished else ""
        print(f"{study.title}: {len(study.methods)} methods, {len(study.runs)} finished runs{unfinished}")
    print(f"written  {file}, {tables}")


def _section(study: ComparedStudy, styles: Styles, predictor: Predictor, command: str) -> Section:
    rows = result_rows(study)
    # The reference is black wherever it is one.
    styles = dict(styles) | ({study.reference: REFERENCE_STYLE} if study.reference else {})
    blocks = [results_block(study, rows, styles), unfinished_block(study)]
    if rows:
        blocks += [curves_block(study, styles), losses_block(study), groups_block(study, rows, styles)]
        blocks += prediction_blocks(study, predict_study(study, predictor), styles)
        blocks.append(settings_block(study))
    blocks.append(commands_block(study, command))
    return Section(study.title, [block for block in blocks if block is not None], commands_of(study))


def _about(studies: Sequence[ComparedStudy], notes: Sequence[str]) -> list[str]:
    runs, unfinished = sum(len(study.runs) for study in studies), sum(len(study.unfinished) for study in studies)
    lines = [
        f"{runs} finished run{'s' * (runs != 1)}"
        + (f", {unfinished} unfinished ones, which are left out" if unfinished else "")
    ]
    if len(studies) > 1:
        lines[0] += (
            f"; {len(studies)} studies. Runs are compared within a study only: the same data, pair of networks and "
            "recipe"
        )
    return [f"{lines[0]}. Made by:", *notes]


def _overview(studies: Sequence[ComparedStudy]) -> Table:
    unfinished = any(study.unfinished for study in studies)
    titles = ["study", "methods", "seeds", "compared with", f"highest {SCORE.title}"]
    rows = [[*titles, *(["unfinished"] if unfinished else [])]]
    for study in studies:
        means = {row.name: sum(row.values(SCORE.key)) / len(row.seeds) for row in result_rows(study)}
        best = max(means, key=lambda name: means[name], default=None)
        shown = "" if best is None else f"{means[best]:.2f}, {best}"
        rows.append(
            [
                *(study.title, str(len(study.methods)), numbers(study.seeds), study.reference or ""),
                *(shown, *([str(len(study.unfinished))] if unfinished else [])),
            ]
        )
    return Table("studies", rows, "All studies; their accuracies are not to be compared with one another.", words=True)
