from dataclasses import replace

import pytest

from tests.test_runs import KD, SETTINGS, TEACHER, write_run
from trg_pyg.errors import InputError
from trg_pyg.report.results import Results
from trg_pyg.report.runs import find_runs
from trg_pyg.runs import Run


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


def test_accuracies_that_make_no_table_are_refused(tmp_path):
    folder = write_run(tmp_path / "run", top1=1e200)
    with pytest.raises(InputError, match=r"metrics.jsonl is none of a run"):
        find_runs([folder])


def test_results_without_settings_are_refused(tmp_path):
    results(settings={"train": {"epochs": 2}}).write(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="its settings lack data, student, teacher or train"):
        find_runs([tmp_path / "a.jsonl"])
