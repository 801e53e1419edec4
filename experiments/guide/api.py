"""API reference of trg_pyg as HTML, from its docstrings: ``python experiments/guide/api.py build/docs``.

A package has a page that lists what can be imported from it; each module has one with the docstrings. Equations are
drawn by MathJax, which the pages load over the network; without it they show as LaTeX.
"""

import pkgutil
import re
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import trg_pyg
from trg_pyg.errors import InputError, require

_TEMPLATE = Path(__file__).with_name("api_template")
_REFERENCE = re.compile(r":(class|func|meth|attr|mod|exc|data|obj):`~?([\w.]+)`")


def public_modules() -> list[str]:
    """Return the names of the library's public packages and modules, sorted."""
    found = (info.name for info in pkgutil.walk_packages(trg_pyg.__path__, f"{trg_pyg.__name__}."))
    return [trg_pyg.__name__, *sorted(name for name in found if "._" not in name)]


def with_full_names(docstring: str, module: ModuleType) -> str:
    """Return a docstring whose references name what the module imports by its full name, as pdoc's links need it.

    Args:
        docstring: with Sphinx's references, such as :class:`InputError`, by the names that the module knows.
        module: whose docstring it is.
    """

    def full(reference: re.Match[str]) -> str:
        role, name = reference.groups()
        home = getattr(vars(module).get(name.partition(".")[0]), "__module__", None) or module.__name__
        return f":{role}:`{name if home == module.__name__ else f'{home}.{name}'}`"

    return _REFERENCE.sub(full, docstring)


def build(folder: Path, sources: bool = True) -> int:
    """Write the pages and return how many there are; what was in the folder's place before is removed.

    Args:
        folder: to write to; what it holds is deleted, if it is such a reference.
        sources: show the source of each item.

    Raises:
        InputError: pdoc is not installed, or the folder holds something else.
    """
    require(find_spec("pdoc") is not None, "pdoc is not installed: pip install 'trg_pyg[docs]'")
    from pdoc import doc, render

    others = folder.exists() and any(folder.iterdir()) and not (folder / "search.js").is_file()
    require(not others, f"{folder} holds something other than an API reference: name a new folder")
    render.configure(docformat="google", math=True, show_source=sources, template_directory=_TEMPLATE)
    render.env.filters["with_full_names"] = with_full_names
    for name in trg_pyg.__all__:
        getattr(trg_pyg, name)  # pdoc sees what is loaded
    modules = {name: doc.Module.from_name(name) for name in public_modules()}
    pages = {f"{name.replace('.', '/')}.html": render.html_module(module, modules) for name, module in modules.items()}
    pages["index.html"] = render.html_index(modules)
    pages["search.js"] = render.search_index(modules)
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return len(modules)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the reference and return the exit code: 0, or 2 where it cannot be written."""
    parser = ArgumentParser(prog="api.py", description="Write the API reference of trg_pyg as HTML.")
    parser.add_argument("folder", type=Path, help="such as build/docs; a reference that is there is replaced")
    folder = parser.parse_args(argv).folder
    try:
        count = build(folder)
    except InputError as error:
        print(f"api.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{count} pages, to begin with {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
