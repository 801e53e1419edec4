"""What a package exports."""

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
