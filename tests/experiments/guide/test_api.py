"""The API reference has a page for every public module, links that lead somewhere, and no reference left unresolved."""

import ast
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from experiments.guide.api import build, main, public_modules

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "trg_pyg"


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """The text of each page by its path."""
    pytest.importorskip("pdoc")
    folder = tmp_path_factory.mktemp("reference") / "docs"
    build(folder, sources=False)
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*.html"))}


def public_files() -> list[Path]:
    files = (file for file in LIBRARY.rglob("*.py") if not file.parent.name.startswith("_"))
    return sorted(file for file in files if file.name == "__init__.py" or not file.name.startswith("_"))


def page_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return "/".join(parts[:-1] if parts[-1] == "__init__" else parts) + ".html"


def test_every_public_module_has_a_page(pages):
    wanted = {page_of(file) for file in public_files()}
    assert len(wanted) > 100
    assert wanted == pages.keys() - {"index.html"}
    assert {name.replace(".", "/") + ".html" for name in public_modules()} == wanted


def test_every_link_leads_to_a_page_and_a_place_on_it(pages):
    places = {page: set(re.findall(r' id="([^"]+)"', text)) for page, text in pages.items()}
    lost, followed = [], 0
    for page, text in pages.items():
        for link in re.findall(r' href="([^"]+)"', re.sub(r"(?s)<script.*?</script>", "", text)):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, place = unescape(link).partition("#")
            found = str((Path("/") / page).parent.joinpath(target).resolve())[1:] if target else page
            followed += 1
            if found not in pages or (place and place not in places[found]):
                lost.append(f"{page}: {link}")
    assert lost == []
    assert followed > 1000


def references(file: Path) -> list[str]:
    """Sphinx's references in the docstrings of what is public in a file."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and not (
            getattr(node, "name", "").startswith("_")
        ):
            text = ast.get_docstring(node) or ""
            found += re.findall(r":(?:class|func|meth|attr|mod|exc|data|obj):`~?([^`]+)`", text)
    return found


def test_every_reference_in_a_docstring_is_a_link(pages):
    wanted = [(page_of(file), name) for file in public_files() for name in references(file)]
    assert len(wanted) > 40
    assert [f"{page}: {name}" for page, name in wanted if not re.search(rf"[>.]{name}(\(\))?</a>", pages[page])] == []


def test_sphinx_is_not_seen_and_equations_are_left_for_mathjax(pages):
    assert [
        page for page, text in pages.items() if re.search(r":(class|func|meth|math|attr):`|\.\. math::", text)
    ] == []
    assert "MathJax" in pages["trg_pyg/distillers/trg.html"]
    assert "$$L = L_{CE} + \\lambda L_{KD}" in pages["trg_pyg/distillers/trg.html"]


def test_a_package_lists_what_can_be_imported_from_it(pages):
    row = re.search(r'<tr id="KNNGraph">.*?</tr>', pages["trg_pyg/graphs.html"], re.DOTALL)
    assert row is not None
    assert 'href="graphs/knn.html#KNNGraph"' in row[0]
    assert "K nearest tokens" in row[0]
    assert '<section id="KNNGraph">' not in pages["trg_pyg/graphs.html"]


def test_a_folder_of_other_things_is_refused_and_stays(tmp_path, capsys):
    pytest.importorskip("pdoc")
    (tmp_path / "thesis.tex").write_text("mine")
    assert main([str(tmp_path)]) == 2
    assert "holds something other than an API reference" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_without_pdoc_the_remedy_is_said(tmp_path):
    """In a process where pdoc cannot be found."""
    program = (
        "import sys; sys.modules['pdoc'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'pdoc' else found(name, *rest)\n"
        "from experiments.guide.api import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "docs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pdoc is not installed: pip install 'trg_pyg[docs]'")
