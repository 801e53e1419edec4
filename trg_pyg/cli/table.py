"""Print the tables of results files, which ``trg run`` writes beside its tables."""

from collections.abc import Sequence
from pathlib import Path

from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.report.published import published_report
from trg_pyg.report.results import Results


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables of results files and return the exit code: 0, or 2 where a file is at fault."""
    description = f"Print the tables of results files, which {program('run')} writes beside its tables."
    parser = CommandParser(prog=program("table"), description=description)
    parser.add_argument("files", nargs="+", type=Path, help="results files (.jsonl); with --published folders too")
    parser.add_argument(
        "--published",
        action="store_true",
        help="beside the figures that others published for the pair; ImageNet is known by its published teacher",
    )

    def work() -> None:
        options = parser.parse_args(argv)
        if options.published:
            print(published_report(options.files))
        else:
            print("\n\n".join(Results.read(file).report().rstrip() for file in options.files))

    return exit_code_of(work, "table")
