import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from trg_pyg.errors import InputError
from trg_pyg.report.results import Results, Run
from trg_pyg.report.runs import find_runs, read_folder

KD = {"class_path": "trg_pyg.distillers.KD", "init_args": {"weight": 1.0}}
SETTINGS = {
    "data": {"class_path": "trg_pyg.data.Digits", "init_args": {"imbalance": None, "validation": None}},
    "student": {"name": "resnet8", "args": {}},
    "teacher": {"name": "resnet20", "args": {}, "train": {"epochs": 2}},
    "train": {"epochs": 2, "lr": 0.1},
}
TEACHER = {"weights": "t.safetensors", "sha256": "ab" * 32, "test_top1": 90.0}


def write_run(folder: Path, *, epochs: int = 2, seed: int = 0, top1: float = 50.0, **config: object) -> Path:
    folder.mkdir(parents=True)
    settings = {**SETTINGS, "distiller": KD, "seeds": [seed], **config}
    (folder / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in settings.items() if v is not None}))
    notes = {"command": "python experiments/run.py", "commit": "abc"}
    notes |= {"teacher": TEACHER} if settings["teacher"] else {}
    (folder / "environment.json").write_text(json.dumps(notes))
    lines = [
        {"epoch": i + 1, "test/top1": top1 + i, "best/top1": top1 + i, "train/ce": 1.0, "seconds": 0.1 * i}
        for i in range(epochs)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def results(**values: object) -> Results:
    history = [{"epoch": 1, "test/top1": 40.0}, {"epoch": 2, "test/top1": 50.0}]
    made = Results(
        study="Digits/resnet20-resnet8",
        command="python experiments/run.py",
        settings=SETTINGS,
        environment={"commit": "abc"},
        teacher={**TEACHER, "name": "resnet20", "metrics": {"top1": 90.0, "top5": 99.0}},
        reference=None,
        runs=[Run("KD", 0, KD, history)],
    )
    return replace(made, **values)


def test_a_run_is_what_its_files_say(tmp_path):
    run = read_folder(write_run(tmp_path / "seed3", seed=3))
    assert (run.method, run.seed, run.distiller, run.epochs, run.done, run.finished) == ("KD", 3, KD, 2, 2, True)
    assert run.settings == SETTINGS
    assert (run.command, run.environment, run.teacher) == ("python experiments/run.py", {"commit": "abc"}, TEACHER)
    assert run.history[-1]["test/top1"] == 51


def test_the_name_of_a_method_is_that_of_its_row(tmp_path):
    variant = write_run(tmp_path / "a", distiller=None, variants={"my KD": KD})
    joined = write_run(tmp_path / "b", methods=["SP+KD"])
    assert [read_folder(folder).method for folder in (variant, joined)] == ["my KD", "SP+KD"]


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_run_with_epochs_to_go_is_unfinished(tmp_path, epochs):
    run = read_folder(write_run(tmp_path / "run", epochs=epochs))
    assert not run.finished
    assert run.done == epochs


def test_a_folder_gives_the_runs_at_any_height_and_no_teachers(tmp_path):
    seeds = [write_run(tmp_path / "runs" / "Digits" / "pair" / "KD-1" / f"seed{i}", seed=i) for i in (0, 1)]
    write_run(tmp_path / "runs" / "teachers" / "Digits" / "resnet20-1")
    wandb = tmp_path / "runs" / "Digits" / "pair" / "KD-1" / "seed0" / "wandb" / "run" / "files"
    write_run(wandb)
    for height in (tmp_path / "runs", seeds[0].parents[1], seeds[0].parent):
        assert [run.folder for run in find_runs([height]).runs] == seeds
    assert [run.folder for run in find_runs([seeds[1]]).runs] == seeds[1:]
    assert [run.folder for run in find_runs([seeds[1], tmp_path / "runs"]).runs] == seeds
    assert len(find_runs([tmp_path / "runs" / "teachers"]).runs) == 1


def test_results_files_count_where_named_or_alone(tmp_path):
    file = tmp_path / "pair" / "table.jsonl"
    results(reference="KD").write(file)
    alone = find_runs([tmp_path])
    assert [(run.method, run.folder) for run in alone.runs] == [("KD", None)]
    assert alone.references == {file: "KD"}
    write_run(tmp_path / "pair" / "KD-1" / "seed7", seed=7)
    with_folder = find_runs([tmp_path])
    assert [run.seed for run in with_folder.runs] == [7]
    assert [teacher["metrics"] for teacher in with_folder.teachers] == [{"top1": 90.0, "top5": 99.0}]
    assert [run.seed for run in find_runs([tmp_path, file]).runs] == [7, 0]


def test_a_damaged_table_beside_runs_is_named(tmp_path):
    write_run(tmp_path / "pair" / "KD-1" / "seed0")
    (tmp_path / "pair" / "table.jsonl").write_text("{")
    (note,) = find_runs([tmp_path]).notes
    assert "table.jsonl holds no results of trg run" in note


def test_what_holds_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder or file; name folders of runs"):
        find_runs([tmp_path / "none"])
    with pytest.raises(InputError, match=r"holds no run, which is a folder with config.yaml and metrics.jsonl"):
        find_runs([tmp_path])
    (tmp_path / "other.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"holds no results of trg run"):
        find_runs([tmp_path / "other.jsonl"])


def test_results_without_settings_are_refused(tmp_path):
    results(settings={"train": {"epochs": 2}}).write(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="its settings lack data, student, teacher or train"):
        find_runs([tmp_path / "a.jsonl"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.yaml", "{", "config.yaml cannot be read"),
        ("config.yaml", "seeds: [0]", "is none of a run"),
        ("environment.json", "[", "environment.json cannot be read"),
        ("environment.json", "[]", "is none of a run"),
        ("metrics.jsonl", "{]", "metrics.jsonl cannot be read"),
        ("metrics.jsonl", "[1]", "is none of a run"),
        ("metrics.jsonl", '{"epoch": "one"}', "is none of a run"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, text, message):
    folder = write_run(tmp_path / "run")
    (folder / file).write_text(text)
    with pytest.raises(InputError, match=message):
        read_folder(folder)
