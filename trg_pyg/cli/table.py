"""Print the tables of results files, which ``trg run`` writes beside its tables."""

from collections.abc import Sequence
from pathlib import Path

from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.report.results import Results


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables of results files and return the exit code: 0, or 2 where a file is at fault."""
    description = f"Print the tables of results files, which {program('run')} writes beside its tables."
    parser = CommandParser(prog=program("table"), description=description)
    parser.add_argument("files", nargs="+", type=Path, help="results files (.jsonl)")

    def work() -> None:
        files = parser.parse_args(argv).files
        print("\n\n".join(Results.read(file).report().rstrip() for file in files))

    return exit_code_of(work, "table")
