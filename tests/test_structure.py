"""The shape of the package: which way imports go, and what library code must not do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "trg_pyg"
ORDER = [
    *("models", "step", "tokens", "nn", "relations", "graphs", "nodes", "divergences", "losses", "tasks"),
    *("distillers", "data", "training", "viz"),
    *("config", "study", "use", "look", "report", "cli"),  # the laboratory
]
# To the left of everything.
BASE = {"batch", "errors", "metrics", "runs"}
BASE |= {"_discover", "_files", "_program", "_pyg", "_seeded", "_size", "_transfer"}
# What the pieces must not import, and where in the laboratory it may be.
FORBIDDEN: dict[str, set[str]] = {
    "experiments": set(),
    "torch_scatter": set(),
    "wandb": {"study", "report"},
    "argparse": {"config", "cli"},
    "jsonargparse": {"config", "cli"},
    "optuna": {"cli"},
}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported, function bodies included; ``package`` resolves dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = [*base, *([node.module] if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*origin, alias.name])


def part_of(path: Path) -> str:
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def allowed(importer: str, imported: str) -> bool:
    """Whether a part of the library may import another: itself and what is on its left; ``data`` its task alone."""
    if imported in BASE or importer == imported:
        return True
    if importer == "__main__":
        return imported == "cli"
    if importer == "__init__":  # for type checkers only: test_exports.py sees what is imported
        return True
    if importer in BASE:
        return imported in BASE and importer in ("_files", "runs")
    if importer == "data":
        return imported == "tasks"
    return imported in ORDER[: ORDER.index(importer)]


def violations(path: Path, text: str) -> list[str]:
    package = list(path.relative_to(ROOT).parent.parts)
    found = []
    for line, name in imports(ast.parse(text), package):
        top, *rest = name.split(".")
        where = f"{path.relative_to(ROOT)}:{line} imports {name}"
        if name == "argparse.Namespace":  # the class of published checkpoints, not a parser
            continue
        if part_of(path) not in FORBIDDEN.get(top, {part_of(path)}) or (
            top == "trg_pyg" and rest and not allowed(part_of(path), rest[0])
        ):
            found.append(where)
    return found


def test_every_part_has_its_place_in_the_order():
    parts = {part_of(path) for path in sources(LIBRARY)}
    assert parts <= {*ORDER, *BASE, "__init__", "__main__"}
    assert set(ORDER[:9]) <= parts


@pytest.mark.parametrize("path", sources(LIBRARY), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    assert violations(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tokens/x.py", "from trg_pyg.graphs.base import GraphBuilder"),
        ("tokens/x.py", "from trg_pyg import graphs"),
        ("tokens/x.py", "from ..graphs import base"),
        ("tokens/x.py", "def f():\n    import trg_pyg.losses.local"),
        ("data/x.py", "from trg_pyg.models.taps import TappedModel"),
        ("errors.py", "from trg_pyg.tokens import patchify"),
        ("nn/x.py", "import torch_scatter"),
        ("nn/x.py", "from torch_scatter import scatter"),
        ("training/x.py", "import wandb"),
        ("training/x.py", "from experiments.run import main"),
    ],
)
def test_an_arrow_that_points_back_is_seen(module, line):
    assert len(violations(LIBRARY / module, line)) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("graphs/x.py", "from trg_pyg.tokens.patch import patchify"),
        ("data/x.py", "from trg_pyg.errors import InputError"),
        ("training/x.py", "from trg_pyg.data.base import ImageSet"),
        ("models/cifar/x.py", "from .. import taps"),
        ("nn/x.py", "from torch_geometric.utils import scatter"),
    ],
)
def test_an_arrow_that_points_forward_is_fine(module, line):
    assert violations(LIBRARY / module, line) == []


def test_a_package_that_uses_pyg_imports_it_without_its_warning():
    using = {part_of(path) for path in sources(LIBRARY) if "from torch_geometric" in path.read_text()}
    first = {part: (LIBRARY / part / "__init__.py").read_text().partition("\nfrom ")[0] for part in using}
    assert [part for part, text in first.items() if "import trg_pyg._pyg" not in text] == []


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call with its name as written, such as ``print`` or ``torch.load``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_only_commands_print_and_the_library_does_not_choose_a_device():
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno} {name}"
        for path in sources(LIBRARY)
        for call, name in calls(ast.parse(path.read_text()))
        if (name == "print" and part_of(path) not in ("cli", "config", "_program")) or name.endswith(".cuda")
    ]
    assert found == []


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{prefix}{node.name}.")


@pytest.mark.parametrize(
    "path", [p for p in sources(LIBRARY) if not p.name.startswith("_")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_public_classes_and_functions_have_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert list(undocumented(tree.body)) == []


def test_a_missing_docstring_is_seen():
    text = (
        'def f():\n    pass\nclass A:\n    """A."""\n    def g(self):\n        pass\n    def _h(self):\n        pass\n'
    )
    assert list(undocumented(ast.parse(text).body)) == ["f", "A.g"]
