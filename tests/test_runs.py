import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trg_pyg.errors import InputError
from trg_pyg.runs import Run, differing, run_folders, telling

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


def test_a_run_is_what_its_files_say(tmp_path):
    run = Run.read(write_run(tmp_path / "seed3", seed=3))
    assert (run.method, run.seed, run.distiller, run.epochs, run.done, run.finished) == ("KD", 3, KD, 2, 2, True)
    assert run.settings == SETTINGS
    assert (run.command, run.environment, run.teacher) == ("python experiments/run.py", {"commit": "abc"}, TEACHER)
    assert run.history[-1]["test/top1"] == 51


def test_methods_of_runs_before_and_after_a_later_option_are_the_same_where_it_is_off(tmp_path):
    off, on = ({"class_path": "KD", "init_args": {"weight": 1.0, "standardize": value}} for value in (False, True))
    runs = [
        Run.read(write_run(tmp_path / str(i), distiller=each))
        for i, each in enumerate([KD | {"class_path": "KD"}, off, on])
    ]
    assert runs[0].distiller == runs[1].distiller != runs[2].distiller


def test_the_name_of_a_method_is_that_of_its_row(tmp_path):
    variant = write_run(tmp_path / "a", distiller=None, variants={"my KD": KD})
    joined = write_run(tmp_path / "b", methods=["SP+KD"])
    assert [Run.read(folder).method for folder in (variant, joined)] == ["my KD", "SP+KD"]


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_run_with_epochs_to_go_is_unfinished(tmp_path, epochs):
    run = Run.read(write_run(tmp_path / "run", epochs=epochs))
    assert not run.finished
    assert (run.done, run.score) == (epochs, 50.0 if epochs else None)


def test_a_run_that_has_just_begun_has_no_metrics_and_may_lack_its_environment(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    (folder / "environment.json").unlink()
    run = Run.read(folder)
    assert (run.done, run.command, run.teacher) == (0, "", None)


def test_folders_of_runs_are_found_at_any_height_but_not_in_wandbs(tmp_path):
    seeds = [write_run(tmp_path / "runs" / "Digits" / "pair" / "KD-1" / f"seed{i}", seed=i) for i in (0, 1)]
    teacher = write_run(tmp_path / "runs" / "teachers" / "Digits" / "resnet20-1")
    write_run(seeds[0] / "wandb" / "run" / "files")
    assert run_folders(tmp_path) == [*seeds, teacher]
    assert run_folders(seeds[0]) == seeds[:1]


def test_what_a_result_depends_on_is_told():
    data = {
        "class_path": "Digits",
        "init_args": {"imbalance": None, "workers": 2, "skip_bad_images": False, "scaled_decoding": False},
    }
    teacher = {"name": "resnet20", "args": {}, "train": {"epochs": 3, "compile": True}}
    recipe = {"epochs": 2, "nesterov": False, "eval_every": 1, "freeze_epochs": 0, "mixup": 0.0, "cutmix": 1.0}
    told = telling({"data": data, "train": recipe, "teacher": teacher})
    assert told == {
        "data.class_path": "Digits",
        "train.epochs": 2,
        "train.nesterov": False,
        "train.cutmix": 1.0,
        "teacher.name": "resnet20",
        "teacher.train.epochs": 3,
    }
    assert differing([told, told | {"train.epochs": 4, "data.init_args.imbalance": 10.0}]) == [
        "data.init_args.imbalance",
        "train.epochs",
    ]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.yaml", "{", "config.yaml cannot be read"),
        ("config.yaml", "seeds: [0]", "is none of a run"),
        ("environment.json", "[", "environment.json cannot be read"),
        ("config.yaml", "[]", "is none of a run"),
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
        Run.read(folder)


def test_runs_are_read_without_pytorch():
    code = "import sys, trg_pyg.runs; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
