"""The page of walks names functions that are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def defined(file: Path) -> set[str]:
    """Functions, classes and ``Class.method`` of a file."""
    tree = ast.parse(file.read_text())
    of_classes = {
        f"{node.name}.{part.name}"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    }
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)} | of_classes


def test_every_function_on_the_way_is_there():
    page = (ROOT / "experiments/guide/walks.md").read_text()
    stops = re.findall(r"^\| `([\w/]+\.py)` \| ([^|]+) \|", page, re.MULTILINE)
    assert len(stops) > 30
    named = [(file, name) for file, names in stops for name in re.findall(r"`([\w.]+)`", names)]
    assert [(file, name) for file, name in named if name not in defined(ROOT / "trg_pyg" / file)] == []
