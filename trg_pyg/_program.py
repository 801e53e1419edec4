"""How the program speaks to the person who started it."""

import sys
from pathlib import Path

from tqdm import tqdm


def program(command: str) -> str:
    """Return the words that start a command as this process was started: ``trg run``, or the script of a clone."""
    script = Path(sys.argv[0])
    if script.parent.name == "experiments" and script.suffix == ".py":
        of_script = {"table": "results"}.get(command, command.replace("-", "_"))
        return f"python experiments/{of_script}.py"
    as_module = script.parts[-2:] == ("trg_pyg", "__main__.py")
    return f"{'python -m trg_pyg' if as_module else 'trg'} {command}"


def say(line: str, *, error: bool = False) -> None:
    """Print a line, above the bars where there are any.

    Args:
        line: what to say.
        error: on standard error.
    """
    stream = sys.stderr if error else sys.stdout
    tqdm.write(line, file=stream)
    stream.flush()


def markdown_table(rows: list[list[str]]) -> str:
    """Return rows, the first of which has the titles, as a table of Markdown whose columns line up."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
