"""What can be imported from where: what a package exports, what ``import trg_pyg`` loads, what a type checker sees."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import trg_pyg

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [
    *("models", "tokens", "nn", "relations", "graphs", "nodes", "divergences", "losses", "distillers"),
    *("data", "training", "viz"),
]


def lacking(package: ModuleType) -> list[str]:
    """The public classes and functions in the files of a package that it does not export."""
    folder = Path(package.__path__[0])
    found = []
    for file in sorted(folder.rglob("[!_]*.py")):
        module = ".".join([package.__name__, *file.relative_to(folder).with_suffix("").parts])
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                exported = getattr(package, node.name, None) if node.name in package.__all__ else None
                if getattr(exported, "__module__", None) != module:
                    found.append(node.name)
    return found


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_what_its_files_define(name):
    missing = lacking(importlib.import_module(f"trg_pyg.{name}"))
    assert not missing, f"trg_pyg/{name}/__init__.py lacks: {', '.join(missing)}"


def test_what_is_not_exported_is_seen(tmp_path, monkeypatch):
    """Of two that have one name, one is not exported; private names and files, constants and imports need not be."""
    files = {
        "__init__.py": "from fruit_basket.apple import Apple, peel\nfrom fruit_basket.pear import cut\n"
        "__all__ = ['Apple', 'peel']\n",
        "apple.py": "from pathlib import Path\nSEEDS = 5\nclass Apple: pass\ndef peel(): pass\ndef _core(): pass\n",
        "pear.py": "def cut(): pass\ndef peel(): pass\n",
        "citrus/lemon.py": "class Lemon: pass\n",
        "_hidden.py": "class Worm: pass\n",
    }
    for file, text in files.items():
        path = tmp_path / "fruit_basket" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert lacking(importlib.import_module("fruit_basket")) == ["Lemon", "cut", "peel"]
    for name in [name for name in sys.modules if name.startswith("fruit_basket")]:
        monkeypatch.delitem(sys.modules, name)


def test_names_that_are_loaded_when_asked_for_are_those_that_a_type_checker_sees():
    seen = {
        alias.name: getattr(importlib.import_module(node.module), alias.name)
        for node in ast.walk(ast.parse(Path(trg_pyg.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("trg_pyg.")
        for alias in node.names
    }
    assert sorted(seen) == sorted({*trg_pyg.__all__} - {"__version__"})
    assert {name: getattr(trg_pyg, name) for name in seen} == seen
    assert {*seen, "__version__"} <= {*dir(trg_pyg)}
    with pytest.raises(AttributeError, match="module 'trg_pyg' has no attribute 'NoSuchName'"):
        _ = trg_pyg.NoSuchName


@pytest.mark.parametrize(
    "program",
    [
        "import sys, trg_pyg; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)",
        "from trg_pyg import *; import sys; sys.exit(TRG.__name__ != 'TRG' or 'trg_pyg.data' in sys.modules)",
        "import trg_pyg, warnings; warnings.resetwarnings(); warnings.simplefilter('error'); trg_pyg.KNNGraph",
    ],
    ids=["the package loads nothing", "a name loads what it needs", "PyG says nothing whoever sets filters"],
)
def test_an_import_says_nothing(program):
    command = [sys.executable, "-W", "error::FutureWarning", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_type_checker_sees_mistaken_names_and_keywords(tmp_path, pytestconfig):
    """As a user runs it: without settings, the package installed."""
    (tmp_path / "user.py").write_text(
        "import trg_pyg\n"
        "from trg_pyg import NoSuchName\n"
        "from trg_pyg.graphs import KNNGraph\n"
        "from trg_pyg.losses import NoSuchLoss\n"
        "KNNGraph(neighbours=8)\n"
        "trg_pyg.KNNGraph(neighbours=8)\n"
        "reveal_type(KNNGraph(k=8))\n"
        "reveal_type(trg_pyg.KNNGraph(k=8))\n"
    )
    cache = pytestconfig.cache.mkdir("mypy")  # PyTorch takes half a minute, once
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(cache), "user.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.findall(r"user.py:(\d+): (error|note): (.*)", done.stdout)
    errors = {int(line): text for line, kind, text in said if kind == "error"}
    mistakes = {2: "NoSuchName", 4: "NoSuchLoss", 5: "neighbours", 6: "neighbours"}
    assert errors.keys() == mistakes.keys(), done.stdout + done.stderr
    assert all(f'"{name}"' in errors[line] for line, name in mistakes.items())
    revealed = [text for _, _, text in said if text.startswith("Revealed")]
    assert revealed == ['Revealed type is "trg_pyg.graphs.knn.KNNGraph"'] * 2
