"""The committed results are those of the committed configurations, and the page shows them as they are."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from trg_pyg.config.choices import Choices, read_choices
from trg_pyg.metrics import score_of
from trg_pyg.report.paired import paired_difference
from trg_pyg.report.results import Results
from trg_pyg.report.table import cell, last_epoch, shown_in_table

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "experiments" / "studies"
PAGE = "\n\n".join(file.read_text() for file in sorted(STUDIES.rglob("README.md")))
RESULTS = sorted((STUDIES / "results").glob("*.jsonl"))
# The results of fair/plain.yaml are results/fair_plain.jsonl.
CONFIGURATIONS = {"_".join(file.relative_to(STUDIES).with_suffix("").parts): file for file in STUDIES.rglob("*.yaml")}


@cache
def choices_of(file: Path) -> Choices:
    return read_choices(["--config", str(file), "--resume"])


def states(stated: Any, chosen: Any) -> bool:
    """Whether settings are those of a configuration; a key that came later was at its default."""
    if isinstance(stated, dict) and isinstance(chosen, dict):
        return stated.keys() <= chosen.keys() and all(states(stated[key], chosen[key]) for key in stated)
    return stated == chosen


def table_of(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_results_are_those_of_the_configuration(file: Path) -> None:
    results = Results.read(file)
    choices = choices_of(CONFIGURATIONS[file.stem])
    wanted = [(method.name, seed) for method in choices.methods for seed in choices.seeds]
    assert [(run.method, run.seed) for run in results.runs] == wanted
    for part in ("data", "student", "teacher", "train"):
        given = choices.settings[part]
        # What a configuration leaves open is of files: a digest, and the normalisation of weights.
        of_files = {key for key in ("digest", "mean", "std") if given.get(key) is None}
        stated = {key: value for key, value in results.settings[part].items() if key not in of_files}
        assert states(stated, given), part
    options = {method.name: method.settings for method in choices.methods}
    for run in results.runs:
        assert run.distiller["class_path"] == options[run.method]["class_path"]
        assert states(run.distiller.get("init_args", {}), options[run.method].get("init_args", {}))
        assert len(run.history) == choices.config.train.epochs
        assert score_of(run.history).key in run.history[-1]
    assert results.reference == choices.reference


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_the_page_shows_the_table_of_the_results(file: Path) -> None:
    shown = PAGE.partition(f"<!-- results/{file.name} -->\n\n")[2].partition("\n\n")[0]
    assert shown == table_of(Results.read(file).report())


def test_every_configuration_has_a_command_on_the_page_that_trg_run_understands() -> None:
    commands = re.findall(r"^trg run (.*)$", PAGE, re.MULTILINE)
    named = {STUDIES.parents[1] / command.split()[1] for command in commands}
    assert named == set(CONFIGURATIONS.values())
    for file in named:
        assert choices_of(file).methods


def test_there_are_results() -> None:
    assert {"choosing_ablation", "fair_plain", "short"} <= {file.stem for file in RESULTS}


def figures(text: str) -> set[str]:
    """Means with a standard deviation, and differences with an interval, of a text."""
    spreads = re.findall(r"\d+\.\d\d ± \d+\.\d\d", text)
    intervals = re.findall(r"-?\d+\.\d\d \[-?\d+\.\d\d, -?\d+\.\d\d\]", text)
    return {*spreads, *intervals}


def figures_of_the_results() -> set[str]:
    """Every mean over the seeds of a row, and every difference of the score between two rows of one study."""
    rows: dict[tuple[str, tuple[int, ...]], list[list[dict[str, float]]]] = {}
    for results in map(Results.read, RESULTS):
        methods = {run.method: [other for other in results.runs if other.method == run.method] for run in results.runs}
        for runs in methods.values():
            seeds = tuple(run.seed for run in runs)
            rows.setdefault((results.study, seeds), []).append([last_epoch(run.history) for run in runs])
    known = set()
    for (_, seeds), group in rows.items():
        known |= {cell(row, key) for row in group for key in row[0] if shown_in_table(key)}
        score = score_of(group[0]).key
        scores = [[last[score] for last in row] for row in group]
        known |= {str(paired_difference(a, b)).lstrip("+") for a in scores for b in scores if len(seeds) > 1}
    return known


@pytest.mark.parametrize(
    ("page", "heading", "end"),
    [
        ("README.md", "## Does it help?", "\n## "),
        ("experiments/guide/long_tail.md", "## What our study found", "\n## "),
        *(
            (f"experiments/studies/{page}README.md", "# ", "no end")
            for page in ("", "further/", "systems/", "fair/", "lasting/", "clips/")
        ),
    ],
)
def test_what_a_page_says_is_what_the_results_give(page: str, heading: str, end: str) -> None:
    said = figures((ROOT / page).read_text().partition(heading)[2].partition(end)[0])
    assert len(said) > 5
    assert said - figures_of_the_results() == set()
