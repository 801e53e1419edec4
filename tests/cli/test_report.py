"""The report of real, tiny studies: read as a browser would."""

import json
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import safetensors.torch
import yaml

from tests.conftest import write_images
from trg_pyg.cli.report import main
from trg_pyg.cli.run import main as run_main
from trg_pyg.report import Results, report

pytest.importorskip("matplotlib")

EVIL = '<script>alert(1)</script>"$x^$'


class Page(HTMLParser):
    """What a page shows and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    @property
    def pictures(self) -> list[str]:
        return [attributes["alt"] for tag, attributes in self.tags if tag == "img"]

    def table(self, title: str) -> dict[str, dict[str, str]]:
        """The first table that has a column of that title, by method."""
        head, *rows = next(table for table in self.tables if title in table[0])
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Runs of a long-tailed study: KD and a variant with a name that nobody should use, seeds 0 and 1; Vanilla."""
    root = tmp_path_factory.mktemp("trained")
    counts = {"red": 24, "green": 24, "blue": 24}
    images = write_images(root / "images", {"train": counts, "test": dict.fromkeys(counts, 4)})
    config = root / "study.yaml"
    variants = {EVIL: {"class_path": "SP", "init_args": {"weight": 10.0}}}
    config.write_text(yaml.safe_dump({"variants": variants, "methods": [EVIL, "KD"]}))
    arguments = [
        *("--data=ImageFolder", f"--data.root={images}", "--data.size=16", "--data.imbalance=2"),
        *("--student.name=resnet8", "--teacher.name=resnet8"),
        *("--train.epochs=2", "--train.batch_size=18", "--teacher.train.epochs=1", "--teacher.train.batch_size=18"),
        *("--wandb=disabled", "--device=cpu", f"--output={root / 'runs'}", "--quiet"),
    ]
    assert run_main(["--config", str(config), *arguments, "--seeds", "0", "1"]) == 0
    (table,) = (root / "runs").glob("*/*/table.jsonl")
    shutil.copy(table, root / "results.jsonl")
    assert run_main([*arguments, "--methods", "Vanilla", f"--table={root / 'vanilla.md'}"]) == 0
    return root


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    """A copy of the runs that a test may damage; the data are where they were."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def folder_of(runs: Path, method: str, seed: int) -> Path:
    (folder,) = runs.glob(f"*/*/{method}-*/seed{seed}")
    return folder


def reported(capsys, *arguments: object, output: Path) -> Page:
    assert main([*map(str, arguments), "--output", str(output)]) == 0, capsys.readouterr().err
    return Page(output.read_text())


def test_a_page_of_runs_with_everything(runs, trained, tmp_path, capsys):
    page = reported(capsys, runs, output=tmp_path / "page.html")
    assert capsys.readouterr().out.splitlines()[-1].startswith("written  ")
    # It loads nothing and runs nothing.
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "img":
            assert attributes["src"].startswith("data:image/svg+xml;base64,")
        elif "href" in attributes:
            assert attributes["href"].startswith("#")
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} == anchors
    assert "url(" not in (tmp_path / "page.html").read_text()
    # Names are shown as they are.
    assert EVIL in page.table("top-1")
    assert EVIL.replace("<", "&lt;") in (tmp_path / "page.md").read_text()
    # Difference, curves, losses, medium and few, classes, class sizes, reliability, matrices.
    assert len(page.pictures) == 1 + 2 + 3 + 2 + 2 + 2 + 3 + 3
    assert all(page.pictures)
    for block in (
        "Training curves",
        "Loss parts",
        "Many, medium and few",
        "Class by class",
        "Calibration",
        "Confusion",
    ):
        assert block in page.text
    assert "Runs without predictions" not in page.text


def test_figures_are_those_of_the_results(runs, trained, tmp_path, capsys):
    page = reported(capsys, runs, output=tmp_path / "page.html")
    text = Results.read(trained / "results.jsonl").report()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    expected = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    shown, costs = page.table("top-1"), page.table("ms/step")
    assert shown["teacher resnet8"]["top-1"] == expected["teacher resnet8"]["top-1"]
    for name in ("KD", EVIL):
        for title in ("top-1", "few", "top-1 over KD [95 %]"):
            assert shown[name][title] == expected[name][title]
        for title in ("best epoch", "ms/step", "s/epoch"):
            assert costs[name][title] == expected[name][title]
    # What the predictions say of the accuracy is what the training said.
    assert page.table("ECE, %")["KD"]["accuracy, %"] == shown["KD"]["top-1"]
    # Of one seed, Vanilla is paired with that of KD alone.
    kd, vanilla = (read_top1(folder_of(runs, method, 0)) for method in ("KD", "Vanilla"))
    assert shown["Vanilla"]["top-1 over KD [95 %]"] == f"{vanilla - kd:+.2f}"
    assert [shown[name]["seeds"] for name in ("KD", "Vanilla")] == ["0, 1", "0"]
    assert "a difference is over the seeds that both have" in page.text


def read_top1(folder: Path) -> float:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["test/top1"]


def test_predictions_are_made_once_for_the_weights(runs, tmp_path, capsys):
    first = reported(capsys, runs, output=tmp_path / "page.html")
    assert "predictions of KD seed 1" in capsys.readouterr().out
    folder = folder_of(runs, "KD", 1)
    again = reported(capsys, runs, "--no-evaluate", output=tmp_path / "page.html")
    assert "predictions of" not in capsys.readouterr().out
    assert again.table("ECE, %") == first.table("ECE, %")
    # Other weights: neither kept predictions, nor any where none are to be made.
    shutil.copy(folder_of(runs, "KD", 0) / "last.safetensors", folder / "last.safetensors")
    without = reported(capsys, runs, "--no-evaluate", output=tmp_path / "page.html")
    assert "KD seed 1: no predictions of its weights are kept, and --no-evaluate asks for no others" in without.text
    other = reported(capsys, runs, output=tmp_path / "page.html")
    assert capsys.readouterr().out.count("predictions of") == 1
    tops = [read_top1(folder_of(runs, "KD", seed)) for seed in (0, 1)]
    assert ("KD seed 1: its last.safetensors has" in other.text) == (abs(tops[0] - tops[1]) > 0.2)
    assert "Runs without predictions" not in other.text
    kept = [
        safetensors.torch.load_file(folder_of(runs, "KD", seed) / "predictions.safetensors")["predicted"].tolist()
        for seed in (0, 1)
    ]
    assert kept[0] == kept[1]


def test_damaged_predictions_are_made_again(runs, tmp_path, capsys):
    reported(capsys, runs, output=tmp_path / "page.html")
    file = folder_of(runs, "KD", 0) / "predictions.safetensors"
    # Read from a copy, since tensors of a file may be the file itself.
    whole = safetensors.torch.load(file.read_bytes())
    file.write_bytes(file.read_bytes()[:-9])
    reported(capsys, runs, output=tmp_path / "page.html")
    again = safetensors.torch.load_file(file)
    for name, tensor in whole.items():
        assert again[name].tolist() == pytest.approx(tensor.tolist())


def test_missing_weights_and_unfinished_runs_are_named(runs, tmp_path, capsys):
    (folder_of(runs, "KD", 1) / "last.safetensors").unlink()
    metrics = folder_of(runs, "Vanilla", 0) / "metrics.jsonl"
    metrics.write_text(metrics.read_text().splitlines(keepends=True)[0])
    page = reported(capsys, runs, output=tmp_path / "page.html")
    assert "Runs without predictions: KD seed 1: the folder has no last.safetensors." in page.text
    assert page.table("last top-1")["Vanilla seed 0"]["epochs"] == "1"
    assert "Vanilla" not in page.table("top-1")
    assert "1 unfinished" in capsys.readouterr().out


def test_data_that_are_gone_leave_out_what_needs_them(runs, tmp_path, capsys):
    for config in runs.rglob("config.yaml"):
        settings = yaml.safe_load(config.read_text())
        settings["data"]["init_args"]["root"] = "gone"
        config.write_text(yaml.safe_dump(settings))
    page = reported(capsys, runs, output=tmp_path / "page.html")
    assert "Left out, since they need the predictions of the runs." in page.text
    assert "gone" in page.text
    assert "ECE, %" not in page.text
    assert page.table("top-1")["KD"]


def test_a_report_is_a_function_too(trained, tmp_path):
    (study,) = report([trained / "results.jsonl"], tmp_path / "page.html", reference=EVIL)
    assert (list(study.methods), study.reference) == ([EVIL, "KD"], EVIL)
    assert "Made by: trg_pyg.report.report" in Page((tmp_path / "page.html").read_text()).text


def test_results_files_alone_say_what_is_left_out(trained, tmp_path, capsys):
    page = reported(capsys, trained / "results.jsonl", output=tmp_path / "page.html")
    assert "All runs: only a results file is given, which has no weights; name the folders of the runs too" in page.text
    assert list(page.table("top-1")) == ["teacher resnet8", EVIL, "KD"]
    assert Results.read(trained / "results.jsonl").command in page.text


def test_unfinished_runs_alone_make_no_table(runs, tmp_path, capsys):
    folder = folder_of(runs, "KD", 0)
    (folder / "metrics.jsonl").write_text("")
    page = reported(capsys, folder, output=tmp_path / "page.html")
    assert "None of these runs is finished, so there is no table." in page.text
    assert page.pictures == []


def test_several_studies_are_listed_and_apart(runs, tmp_path, capsys):
    folder = folder_of(runs, "Vanilla", 0)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["train"]["lr"] = 0.01
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    page = reported(capsys, runs, "--no-evaluate", output=tmp_path / "page.html")
    assert [row[1] for row in page.tables[0]] == ["methods", "2", "1"]
    assert len([tag for tag, _ in page.tags if tag == "section"]) == 2


def test_recipes_of_a_pair_are_in_one_table_at_the_top(runs, tmp_path, capsys):
    folder = folder_of(runs, "KD", 1)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["train"]["lr"] = 0.25
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    page = reported(capsys, runs, "--no-evaluate", output=tmp_path / "page.html")
    head, *rows = page.tables[0]
    assert head == ["method", "train.lr", "seeds", "top-1", "top-1 over KD"]
    assert ["0.25", "1", f"{read_top1(folder):.2f}"] in [row[1:4] for row in rows]
    assert "| method" in (tmp_path / "page.md").read_text().partition("\n## ")[0]


def test_wandb_gets_the_same_pictures_and_tables(runs, tmp_path, capsys, monkeypatch):
    wandb = pytest.importorskip("wandb")
    given: dict = {}

    class Run:
        def define_metric(self, *names, **options):
            pass

        def log(self, media):
            given["media"] = media

        def finish(self, exit_code):
            given["code"] = exit_code

    def init(**options):
        given["options"] = options
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    page = reported(capsys, runs, "--no-evaluate", "--wandb=offline", output=tmp_path / "page.html")
    assert (given["options"]["job_type"], given["options"]["mode"], given["code"]) == ("report", "offline", 0)
    kinds = [type(value).__name__ for value in given["media"].values()]
    assert kinds.count("Image") == len(page.pictures)
    assert kinds.count("Table") == len(page.tables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "runs: no such folder or file"),
        (["none"], "none: no such folder or file"),
        (["RUNS", "--reference", "TRG"], "reference=TRG: no method of that name has a finished run"),
        (["RUNS", "--output", "report.txt"], "output=report.txt: give a name that ends in .html"),
        (["RUNS", "--wandb", "on"], "--wandb on: choose offline, online, disabled; did you mean online?"),
    ],
)
def test_mistakes_end_in_one_line(trained, arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([str(trained / "runs") if word == "RUNS" else word for word in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("trg report: error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_remedy_is_named(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(trained / "runs"), "--output", str(tmp_path / "page.html")]) == 2
    assert capsys.readouterr().err == "trg report: error: pictures need matplotlib: pip install 'trg_pyg[lab]'\n"
