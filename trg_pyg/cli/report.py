"""Report on runs: tables, curves and what the networks predict, in one page.

    trg report
    trg report runs/Digits/resnet20-resnet8 --output report.html
    trg report experiments/studies/results/*.jsonl

RUNS are folders of seeds, methods or pairs, and results files, the .jsonl beside a table. Runs are compared where data,
pair of networks and recipe are the same; others have sections of their own. Unfinished runs are listed and left out.
Where a run's folder has weights, their predictions are made once, and kept there as predictions.safetensors, under the
hash of the weights.

The page needs no network and no script; report.md beside it has the tables.
"""

import shlex
import sys
from argparse import ArgumentParser, BooleanOptionalAction, RawDescriptionHelpFormatter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from trg_pyg._files import check_writable
from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.errors import count
from trg_pyg.report import report


def main(argv: Sequence[str] | None = None) -> int:
    """Write a report and return the exit code: 0, or 2 where the input is at fault."""
    given = sys.argv[1:] if argv is None else list(argv)

    def work() -> None:
        options = _parser().parse_args(given)
        check_writable(options.output, "--output", file=True)
        command = f"{program('report')} {shlex.join(given)}"
        for study in report(**vars(options), command=command, tell=partial(print, flush=True)):
            unfinished = f", {len(study.unfinished)} unfinished" if study.unfinished else ""
            methods, runs = count(len(study.methods), "method"), count(len(study.runs), "finished run")
            print(f"{study.title}: {methods}, {runs}{unfinished}")
        print(f"written  {options.output}, {options.output.with_suffix('.md')}")

    return exit_code_of(work, "report")


def _parser() -> ArgumentParser:
    parser = CommandParser(prog=program("report"), description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUNS",
        default=[Path("runs")],
        help="folders of runs, or results files (.jsonl) (default: runs)",
    )
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
