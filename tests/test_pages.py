"""What the README and the guides show works: links, Python, and commands, which are run (see page_commands)."""

import re
import shutil
import unicodedata
from importlib import import_module
from pathlib import Path

import pytest
import torch

import trg_pyg
from tests.page_commands import (
    GUIDES,
    ROOT,
    Place,
    commands,
    fenced,
    few_digits,
    few_reviews,
    few_scenes,
    files,
    refusals,
)
from trg_pyg.distillers import SP
from trg_pyg.step import Step

READ = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "experiments").rglob("*.md")),
)
ALL = (*READ, ROOT / "CHANGELOG.md")
SHOWN = [(page, command) for page in GUIDES for command in dict.fromkeys(commands(page.read_text()))]
ONCE = [
    (command, page)
    for i, (page, command) in enumerate(SHOWN)
    if "RUN" in command or command not in [each for _, each in SHOWN[:i]]
]


def title(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


@pytest.fixture(scope="module")
def place(tmp_path_factory, one_thread):
    """A folder that has what the commands name; they are run in it."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setenv("WANDB_SILENT", "true")
        few_digits(patch)
        few_reviews(patch)
        few_scenes(patch)
        yield Place()
    shutil.rmtree(folder)  # gigabytes of runs, which would stay until all tests are done


@pytest.mark.parametrize(("command", "page"), ONCE, ids=title)
def test_every_command_runs(command, page, place):
    place.execute(command, page)


@pytest.mark.parametrize(
    ("command", "line", "page"), [(*each, page) for page in GUIDES for each in refusals(page.read_text())], ids=title
)
def test_a_mistake_that_is_shown_is_refused_as_shown(command, line, page, place, capfd):
    with pytest.raises(AssertionError):
        place.execute(command, page)
    assert capfd.readouterr().err.splitlines()[-1] == line


@pytest.mark.parametrize("page", [page for page in GUIDES if fenced(page.read_text(), "python")], ids=title)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, place):
    torch.manual_seed(0)
    scope: dict = {"__name__": page.stem}
    for block in fenced(page.read_text(), "python"):
        exec(compile(block, page.name, "exec"), scope)


def test_the_composition_of_the_guide_is_sp():
    text = (ROOT / "experiments" / "guide" / "new_method.md").read_text()
    scope: dict = {}
    exec(fenced(text, "python")[0], scope)
    gradient = scope["student"].model.conv1.weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    infos = scope["student"].describe(32), scope["teacher"].describe(32)
    outputs = scope["student"](scope["images"]), scope["teacher"](scope["images"])
    step = Step(scope["labels"], 0.0, torch.Generator())
    assert torch.allclose(SP(*infos)(*outputs, step).parts["similarity"], scope["sp"](*outputs, step))


def test_there_is_something_to_run():
    assert len(ONCE) > 40
    assert sum(len(files(page.read_text())) for page in GUIDES) >= 4


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    bare = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return "".join(c for c in bare.replace(" ", "-") if c in "-_" or unicodedata.category(c)[0] in "LN")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text())
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, place = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (place and place not in anchors(file)):
            lost.append(link)
    assert lost == []


def test_every_guide_is_in_the_index():
    index = (ROOT / "experiments" / "guide" / "README.md").read_text()
    guides = [*(ROOT / "experiments" / "guide").glob("*.md"), *(ROOT / "experiments" / "guide").glob("*.ipynb")]
    assert len(guides) > 10
    assert [page.name for page in guides if page.name != "README.md" and f"({page.name})" not in index] == []


def test_every_class_that_a_table_names_can_be_imported_from_its_package():
    parts = ("models", "tokens", "relations", "graphs", "nodes", "divergences", "losses", "tasks", "distillers", "data")
    packages = (trg_pyg, *(import_module(f"trg_pyg.{part}") for part in parts))
    known = {name for package in packages for name in package.__all__}
    named = {
        (page.name, name)
        for page in READ
        for row in re.findall(r"^\|.*$", page.read_text(), re.MULTILINE)
        for code in re.findall(r"`([A-Z][^`]+)`", row)
        if re.match(r"\w+(\(|$)", code)
        for name in re.findall(r"\b[A-Z]\w+", code)
    }
    assert len({name for _, name in named}) > 50
    others = {"Batch", "Data", "DataParallel", "Namespace", "True"}  # of PyG, PyTorch, jsonargparse and Python
    assert {(page, name) for page, name in named if name not in known | others} == set()


def test_every_function_of_the_walks_is_where_they_say():
    text = (ROOT / "experiments" / "guide" / "walks.md").read_text()
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.*?) \|", text, re.MULTILINE)
    lost = []
    for file, functions in rows:
        source = (ROOT / "trg_pyg" / file).read_text()
        names = [name for function in re.findall(r"`([\w.]+)`", functions) for name in function.split(".")]
        lost += [(file, name) for name in names if not re.search(rf"^ *(def|class) {name}\b", source, re.MULTILINE)]
    assert len(rows) > 30
    assert lost == []


def test_every_file_that_a_page_names_is_there():
    named = {
        (page.name, name)
        for page in READ
        for name in re.findall(r"(?<![\w/])(?:experiments|tests|trg_pyg)/[\w/.-]+\.(?:py|yaml|sh|md)", page.read_text())
    }
    assert len(named) > 20
    assert [(page, name) for page, name in sorted(named) if not (ROOT / name).exists()] == []
