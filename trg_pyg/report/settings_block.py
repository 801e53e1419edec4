"""What the figures of a study depend on: methods, settings, environment, commands."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trg_pyg._program import program
from trg_pyg.report.comparison import ComparedStudy
from trg_pyg.report.page import Block, Rows, Table
from trg_pyg.report.rows import seeds
from trg_pyg.runs import Run, flatten


def settings_block(study: ComparedStudy) -> Block:
    """Return methods with their options, what differs among the runs, and what is the same for all."""
    runs = {(name, seed): _facts(run) for name, runs in study.methods.items() for seed, run in runs.items()}
    differing, common = _split(runs)
    about = "Options: those that differ where several rows are of one class."
    tables = [Table("methods", _methods(study), about, words=True)]
    lines = []
    if differing:
        rows = [["setting", "value", "runs"], *differing]
        tables.append(Table("differences", rows, "What differs among the runs", words=True))
    else:
        lines.append("Nothing but method and seed differs among the runs.")
    if any(run.environment.get("uncommitted_changes") for run in study.runs):
        lines.append("Some runs were made with changes that their commit does not have (uncommitted_changes).")
    rows = [["setting", "value"], *common]
    tables.append(Table("common", rows, "What all runs have in common", folded=True, words=True))
    return Block("Settings and environment", lines, tables)


def _facts(run: Run) -> dict[str, Any]:
    return flatten({**run.settings, "environment": run.environment})


def _methods(study: ComparedStudy) -> Rows:
    distillers = {name: next(iter(runs.values())).distiller for name, runs in study.methods.items()}
    options = {name: flatten(distiller.get("init_args") or {}) for name, distiller in distillers.items()}
    # The package's own by name, as trg run takes them.
    classes = {
        name: str(distiller.get("class_path", "")).removeprefix("trg_pyg.distillers.")
        for name, distiller in distillers.items()
    }
    rows = [["method", "class", "options"]]
    for name, own in options.items():
        alike = [options[other] for other in options if classes[other] == classes[name]]
        shown = {key: value for key, value in own.items() if len(alike) == 1 or _differs(key, alike)}
        rows.append([name, classes[name], ", ".join(f"{key}={_text(value)}" for key, value in shown.items())])
    return rows


def _differs(key: str, options: Sequence[Mapping[str, Any]]) -> bool:
    return len({_text(each.get(key)) for each in options}) > 1


def _split(runs: Mapping[tuple[str, int], Mapping[str, Any]]) -> tuple[list[list[str]], list[list[str]]]:
    """Return rows for the settings that differ, and for those that do not."""
    differing, common = [], []
    for key in dict.fromkeys(key for facts in runs.values() for key in facts):
        # A run without a teacher has no settings of one: that is no difference.
        having = {run: facts for run, facts in runs.items() if _has_part(facts, key)}
        values: dict[str, list[tuple[str, int]]] = {}
        for run, facts in having.items():
            values.setdefault(_text(facts[key]) if key in facts else "not recorded", []).append(run)
        if len(values) == 1:
            common.append([key, next(iter(values))])
        else:
            differing += [[key, value, _runs(of_value)] for value, of_value in values.items()]
    return differing, common


def _has_part(facts: Mapping[str, Any], key: str) -> bool:
    part = key.partition(".")[0]
    return part != "teacher" or any(name.partition(".")[0] == part for name in facts)


def _runs(runs: Sequence[tuple[str, int]]) -> str:
    by_method: dict[str, list[int]] = {}
    for method, seed in runs:
        by_method.setdefault(method, []).append(seed)
    return "; ".join(f"{method} ({seeds(of_method)})" for method, of_method in by_method.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def commands_block(study: ComparedStudy, report: str) -> Block:
    """Return the commands of the runs, and that of the report."""
    lines = [
        "The runs were made by the first of these, the report by the last; config.yaml in the folder of a run repeats "
        f"it ({program('run')} --config)."
    ]
    return Block("Commands", lines, listing=[*commands_of(study), report])


def commands_of(study: ComparedStudy) -> list[str]:
    """Return what was typed for the runs of a study, each command once."""
    runs = [*study.runs, *study.unfinished]
    return list(dict.fromkeys(run.command for run in runs if run.command))
