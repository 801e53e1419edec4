"""The shape of the package: which way imports go, what library code must not do, and how a file becomes an export."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "trg_pyg"
ORDER = [
    *("models", "tokens", "nn", "relations", "graphs", "nodes", "divergences", "losses", "distillers"),
    *("data", "training", "viz"),
    *("config", "study", "use", "look", "report", "cli"),  # the laboratory
]
# To the left of everything.
BASE = {"errors", "step", "metrics", "runs", "_discover", "_files", "_program", "_transfer"}
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
    """Whether a part of the library may import another: itself and what is on its left; ``data`` nothing but errors."""
    if imported in BASE or importer == imported:
        return True
    if importer == "__main__":
        return imported == "cli"
    if importer in BASE or importer == "__init__":
        return imported in BASE and importer in ("__init__", "_files", "runs")
    if importer == "data":
        return False
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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of the given files, which exports what is in it, and imports it."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(name: str, files: dict[str, str]):
        made.append(name)
        files["__init__.py"] = (
            "import sys\nfrom trg_pyg._discover import export\n__all__ = export(sys.modules[__name__])\n"
        )
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    for module in [m for m in sys.modules if m.split(".")[0] in made]:
        del sys.modules[module]


def test_a_file_is_enough_to_export_its_public_classes_and_functions(package):
    fruit = package(
        "fruit_basket",
        {
            "apple.py": "import os\nfrom pathlib import Path\nSEEDS = 5\n"
            "class Apple: pass\ndef peel(): pass\ndef _core(): pass\n",
            "_hidden.py": "class Worm: pass\n",
            "citrus/__init__.py": "",
            "citrus/lemon.py": "from fruit_basket.apple import Apple\nclass Lemon(Apple): pass\n",
        },
    )
    assert fruit.__all__ == ["Apple", "Lemon", "peel"]
    assert fruit.Lemon.__mro__[1] is fruit.Apple
    # Imported names, private names and constants are not exported.
    assert not {"Path", "os", "_core", "SEEDS", "Worm"} & vars(fruit).keys()


def test_two_files_must_not_define_the_same_public_name(package):
    files = {"one.py": "class Apple: pass\n", "two.py": "def Apple(): pass\n", "three.py": "def _Apple(): pass\n"}
    with pytest.raises(ImportError, match=r"Apple is defined in both bad_basket\.one and bad_basket\.two"):
        package("bad_basket", files)


@pytest.mark.parametrize("name", ORDER[1:9])
def test_packages_of_the_library_export_what_their_files_define(name):
    module = importlib.import_module(f"trg_pyg.{name}")
    assert module.__all__ == sorted(module.__all__)
    for public in module.__all__:
        assert getattr(module, public).__module__.startswith(f"trg_pyg.{name}.")
