"""The command ``trg``: each module beside this one is a command, its ``main`` does the work.

Commands are imported when they are called, since PyTorch and PyG take seconds to import.
"""

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import trg_pyg
from trg_pyg.errors import near


def commands() -> dict[str, str]:
    """Return every command with what it does: the first line of its module, which is not imported for that."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        found[file.stem.replace("_", "-")] = text.partition("\n")[0].rstrip(".:")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        argv: command and arguments; ``None`` for those of this process.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    known = commands()
    if name in ("--help", "-h"):
        width = max(map(len, known))
        lines = [f"  {command:<{width}}  {what}" for command, what in known.items()]
        print("\n".join(["usage: trg COMMAND [OPTION ...]", "", *lines, "", "trg COMMAND --help has the options."]))
        return 0
    if name == "--version":
        print(f"trg_pyg {trg_pyg.__version__}")
        return 0
    if name not in known:
        print(f"trg: error: {name}: no such command{near(name, known)}", file=sys.stderr)
        return 2
    # As python does, so that a class in the working folder can be named: my_file.Method.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        command = import_module(f"trg_pyg.cli.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("trg_pyg"):
            raise
        print(f'trg {name}: error: {error.name} is not installed: pip install "trg_pyg[lab]"', file=sys.stderr)
        return 2
    code: int = command.main(rest)
    return code
