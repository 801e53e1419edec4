import subprocess
import sys

import pytest

from tests.test_runs import KD, SETTINGS, write_run
from trg_pyg.cli.runs import listing, main


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def column(text: str, title: str) -> list[str]:
    titles, *others = rows(text)
    return [row[titles.index(title)] for row in others]


def test_a_run_is_a_row_and_trained_teachers_come_last(tmp_path, capsys, monkeypatch):
    data = {"class_path": "trg_pyg.data.Digits", "init_args": {"imbalance": 10.0, "validation": 0.1}}
    write_run(tmp_path / "runs" / "teachers" / "Digits" / "resnet20-1", teacher=None, student={"name": "resnet20"})
    write_run(tmp_path / "runs" / "Digits" / "resnet20-resnet8" / "KD-1" / "seed0", data=data, epochs=1, top1=12.345)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert rows(capsys.readouterr().out) == [
        ["data", "networks", "method", "differs", "epochs", "top-1", "state", "folder"],
        [
            *("Digits-LT10-val", "resnet20-resnet8", "KD", "", "1 of 2", "12.35", "unfinished"),
            "runs/Digits/resnet20-resnet8/KD-1/seed0",
        ],
        ["Digits", "resnet20", "teacher", "", "2 of 2", "51.00", "finished", "runs/teachers/Digits/resnet20-1"],
    ]


def test_what_differs_is_said_in_words(tmp_path):
    weak = {"class_path": "trg_pyg.distillers.KD", "init_args": {"weight": 0.5}}
    longer = SETTINGS["train"] | {"epochs": 30, "compile": True}
    teacher = SETTINGS["teacher"] | {"weights": "other.pth"}
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", distiller=weak, seed=1)
    write_run(tmp_path / "c", train=longer, teacher=teacher)
    write_run(tmp_path / "d", distiller={"class_path": "trg_pyg.distillers.Vanilla"}, teacher=None)
    write_run(tmp_path / "e", student={"name": "resnet14"})  # alone with its student
    assert column(listing([tmp_path]), "differs") == [
        "weight=1.0, teacher.weights=unset, train.epochs=2, seed 0",
        "weight=0.5, teacher.weights=unset, train.epochs=2, seed 1",
        "weight=1.0, teacher.weights=other.pth, train.epochs=30, seed 0",
        "train.epochs=2, seed 0",
        "",
    ]


def test_data_are_shown_by_place_and_hash_and_are_no_difference(tmp_path):
    for name, root, digest in (("a", "photos", "ab"), ("b", "moved", "ab"), ("c", "photos", "cd")):
        data = {"class_path": "trg_pyg.data.ImageFolder", "init_args": {"root": root}}
        folder = write_run(tmp_path / name, data=data)
        (folder / "data.json").write_text(f'{{"digest": "{32 * digest}"}}')
    text = listing([tmp_path])
    assert column(text, "data") == [
        f"ImageFolder {told}" for told in ("photos abababab", "moved abababab", "photos cdcdcdcd")
    ]
    assert column(text, "differs") == ["", "", ""]


def test_many_differences_are_counted(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", train=SETTINGS["train"] | {"epochs": 3, "lr": 1.0, "momentum": 0.5, "gamma": 0.2, "x": 1})
    assert column(listing([tmp_path]), "differs")[1] == (
        "train.epochs=3, train.gamma=0.2, train.lr=1.0, train.momentum=0.5 and 1 more"
    )


def test_half_written_folders_leave_the_others_in_the_list(tmp_path):
    begun, cut = write_run(tmp_path / "begun"), write_run(tmp_path / "cut")
    write_run(tmp_path / "sound")
    (begun / "metrics.jsonl").unlink()
    (cut / "metrics.jsonl").write_text('{"epoch": 1, "te')
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").touch()
    text = listing([tmp_path, tmp_path / "sound"])
    assert column(text, "state") == ["no epoch yet", "finished"]
    lines = text.splitlines()[-2:]
    assert lines[0].startswith(f"{cut} is passed over: {cut}/metrics.jsonl cannot be read (")
    assert lines[1].startswith(f"{tmp_path}/empty is passed over: {tmp_path}/empty/config.yaml is none of a run")


@pytest.mark.parametrize(("folder", "message"), [("none", "none: no such folder"), (".", ".: no runs in it; name a")])
def test_where_there_is_nothing_to_list_it_is_said(folder, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([folder]) == 2
    assert capsys.readouterr().err.startswith(f"trg runs: error: {message}")


def test_it_does_without_pytorch(tmp_path):
    write_run(tmp_path / "run", distiller=KD)
    code = f"import sys; from trg_pyg.cli import main; main(['runs', '{tmp_path}']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
