"""Runs a command of ``trg`` from a clone that need not be installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trg_pyg.cli import main


def trg(command: str) -> None:
    """End this process with the command's exit code."""
    sys.exit(main([command, *sys.argv[1:]]))
