import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from safetensors.torch import load_file

from trg_pyg.cli.diagnose import main as diagnose_main
from trg_pyg.cli.run import main
from trg_pyg.cli.table import main as table_main
from trg_pyg.models.cifar.resnet import resnet8
from trg_pyg.models.weights import save_weights
from trg_pyg.report.results import Results
from trg_pyg.study.folder import RunFolder

ROOT = Path(__file__).parents[2]


def run_folders(tmp_path, method):
    return sorted((tmp_path / "runs").glob(f"ImageFolder/resnet8-resnet8/{method}-*/seed*"))


def last_weights_of(folder):
    return load_file(folder / "last.safetensors")


def last_weights(tmp_path, method="TRG"):
    (folder,) = run_folders(tmp_path, method)
    return last_weights_of(folder)


def history(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_study_ends_in_a_table_and_every_run_can_be_traced(small, tmp_path, capsys):
    assert main([*small, "--methods", "Vanilla", "KD", "TRG", "--seeds", "0", "1"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")]
    assert rows == ["method", "teacher resnet8", "Vanilla", "KD", "TRG"]
    assert "±" in printed
    assert printed == printed.replace("nan", "")
    folders = run_folders(tmp_path, "TRG")
    assert [folder.name for folder in folders] == ["seed0", "seed1"]
    epochs = history(folders[0])
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    parts = {"ce", "kd", "inner", "local", "global", "graph", "total"}
    assert parts <= {name.removeprefix("train/") for name in epochs[0]}
    environment = json.loads((folders[0] / "environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")
    assert "--seeds 0 1" in environment["command"]
    assert len(environment["teacher"]["sha256"]) == 64
    config = yaml.safe_load((folders[1] / "config.yaml").read_text())
    assert config["seeds"] == [1]
    assert config["distiller"]["class_path"].endswith("TRG")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "trained first, 1 epoch"),
        (["--teacher.weights=repdistiller/resnet56_cifar100"], "published weights repdistiller/resnet56_cifar100"),
    ],
)
def test_a_dry_run_says_what_a_study_would_do_and_leaves_nothing(options, line, small, tmp_path, capsys):
    networks = [option for option in small if not (options and option == "--teacher.name=resnet8")]
    variants = "--variants={TRG k=4: {class_path: TRG, init_args: {k: 4}}, soft: KD}"
    given = [*networks, *options, variants, "--seeds", "0", "1", "--dry_run"]
    for command, own in ((main, []), (diagnose_main, ["--probe_images=36"])):
        assert command([*given, *own]) == 0
        shown, errors = capsys.readouterr()
        assert line in shown
        assert [text.split()[0] for text in shown.splitlines() if text[0] != " "] == [
            *("data", "teacher", "student", "methods", "graphs", "training", "runs", "output"),
        ]
        assert "runs      4: 2 methods x seeds 0, 1\n" in shown
        assert errors == ""
    assert not (tmp_path / "runs").exists()


def test_the_table_can_be_made_again_from_the_results_beside_it(small, tmp_path, capsys):
    table = tmp_path / "tables" / "mine.md"
    assert main([*small, "--methods", "Vanilla", "KD", "--seeds", "3", "1", f"--table={table}"]) == 0
    capsys.readouterr()
    assert table_main([str(table.with_suffix(".jsonl"))]) == 0
    assert capsys.readouterr().out == table.read_text()
    results = Results.read(table.with_suffix(".jsonl"))
    assert [(run.method, run.seed) for run in results.runs] == [("Vanilla", 3), ("Vanilla", 1), ("KD", 3), ("KD", 1)]
    assert results.runs[3].history == history(run_folders(tmp_path, "KD")[0])
    assert results.settings["train"]["epochs"] == 2
    assert results.teacher["name"] == "resnet8"
    assert results.teacher["test_top1"] == results.teacher["metrics"]["top1"]


def test_epochs_without_an_evaluation_are_no_gap_in_the_table(small, tmp_path, capsys):
    given = [*small, "--train.epochs=3", "--train.eval_every=2", "--methods", "Vanilla", "KD", "--seeds", "0", "1"]
    assert main(given) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    header, teacher, vanilla, kd = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert header == ["method", "top-1", "best epoch", "passes", "ms/step", "s/epoch", "top-1 over KD [95 %]"]
    assert [bool(cell) for cell in teacher] == [True, True, False, False, False, False, False]
    assert all(vanilla)
    assert [bool(cell) for cell in kd] == [True] * 6 + [False]
    epochs = history(run_folders(tmp_path, "KD")[0])
    assert ["test/top1" in epoch for epoch in epochs] == [False, True, True]


def test_the_config_of_a_run_gives_the_same_weights_again(small, tmp_path):
    main([*small, "--methods", "TRG"])
    (folder,) = run_folders(tmp_path, "TRG")
    first = last_weights(tmp_path)
    again = tmp_path / "again"
    common = ["--wandb=disabled", "--device=cpu", f"--output={again}"]
    assert main([f"--config={folder / 'config.yaml'}", *common]) == 0
    repeated = load_file(next(again.glob("ImageFolder/*/TRG-*/seed0")) / "last.safetensors")
    assert all(torch.equal(first[name], repeated[name]) for name in first)


def test_a_method_joined_with_kd_has_its_own_row_and_folder_and_repeats_from_its_config(small, tmp_path, capsys):
    given = [*small, "--train.epochs=1", "--method_options={TRG: {kd_weight: 0}}"]
    assert main([*given, "--methods", "TRG", "TRG+KD"]) == 0
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows == ["method", "teacher resnet8", "TRG", "TRG+KD"]
    (folder,) = run_folders(tmp_path, "TRG+KD")
    first = last_weights(tmp_path, "TRG+KD")
    settings = [yaml.safe_load((run_folders(tmp_path, name)[0] / "config.yaml").read_text()) for name in rows[2:]]
    assert [each["distiller"]["init_args"]["kd_weight"] for each in settings] == [0.0, 1.0]
    again = ["--wandb=disabled", "--device=cpu", f"--output={tmp_path / 'again'}"]
    assert main([f"--config={folder / 'config.yaml'}", *again]) == 0
    repeated = tmp_path / "again" / folder.relative_to(tmp_path / "runs")
    assert all(torch.equal(value, first[name]) for name, value in last_weights_of(repeated).items())


def test_a_stopped_run_resumes_to_the_weights_of_one_that_was_not(small, tmp_path, monkeypatch, capsys):
    main([*small, "--methods", "TRG"])
    (folder,) = run_folders(tmp_path, "TRG")
    whole, epochs = last_weights(tmp_path), history(folder)

    class Stopped(Exception):
        pass

    def stop(display, metrics):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("trg_pyg.study.progress.Display.epoch", stop)
        with pytest.raises(Stopped):
            main([*small, "--methods", "TRG", "--overwrite"])
    assert len(history(folder)) == 1
    assert main([*small, "--methods", "TRG", "--resume"]) == 0
    resumed = last_weights(tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    timing = ("seconds", "images_per_second", "ms_per_step")
    for one, other in zip(epochs, history(folder), strict=True):
        assert {k: v for k, v in one.items() if k not in timing} == {k: v for k, v in other.items() if k not in timing}


def test_resume_keeps_finished_runs_and_the_teacher_is_trained_once(small, tmp_path, capsys):
    main([*small, "--methods", "KD"])
    assert "teacher resnet8  epoch 1/1" in capsys.readouterr().out
    before = history(run_folders(tmp_path, "KD")[0])
    main([*small, "--methods", "KD", "--resume"])
    assert "epoch" not in capsys.readouterr().out.replace("epochs", "").replace("last epoch", "").replace(
        "best epoch", ""
    ).replace("s/epoch", "")
    assert history(run_folders(tmp_path, "KD")[0]) == before


def files_of(folder):
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir() if file.is_file()}


def test_the_same_command_again_keeps_what_is_finished_and_prints_its_table(small, tmp_path, capsys):
    given = [*small, "--methods", "Vanilla", "KD", "--seeds", "0", "--train.epochs=1"]
    assert main(given) == 0
    table = capsys.readouterr().out.partition("\n\n")[2]
    folders = [run_folders(tmp_path, method)[0] for method in ("Vanilla", "KD")]
    (teacher,) = (tmp_path / "runs" / "teachers" / "ImageFolder").iterdir()
    before = [files_of(folder) for folder in (*folders, teacher)]
    assert main(given) == 0
    again = capsys.readouterr().out
    assert "kept      2 of 2 runs, finished before; --overwrite trains them anew\n" in again
    assert again.partition("\n\n")[2] == table
    assert [files_of(folder) for folder in (*folders, teacher)] == before
    # Its checkpoints may be gone, and a further seed joins it.
    (folders[0] / "checkpoint.pt").unlink()
    assert main([*given, "--seeds", "0", "1", "--methods", "Vanilla"]) == 0
    again = capsys.readouterr().out
    assert "kept      1 of 2 runs, finished before" in again
    assert "Vanilla seed 1  epoch 1/1" in again
    assert "± " in again
    assert main([*given, "--methods", "Vanilla", "--overwrite"]) == 0
    assert "Vanilla seed 0  epoch 1/1" in capsys.readouterr().out
    assert files_of(folders[0]) != before[0]


def test_a_run_that_stopped_is_neither_trained_anew_nor_gone_on_with_unasked(small, tmp_path, monkeypatch, capsys):
    given = [*small, "--methods", "Vanilla"]
    with monkeypatch.context() as patch:
        patch.setattr("trg_pyg.study.progress.Display.epoch", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
        assert main(given) == 75
    (folder,) = run_folders(tmp_path, "Vanilla")
    before = files_of(folder)
    capsys.readouterr()
    assert main(given) == 2
    assert capsys.readouterr().err == (
        f"trg run: error: stopped before its end: Vanilla seed 0 in {folder}; --resume goes on with it, --overwrite "
        "trains it anew\n"
    )
    assert {name: kept for name, kept in files_of(folder).items() if name != ".lock"} == {
        name: kept for name, kept in before.items() if name != ".lock"
    }
    assert main([*given, "--resume", "--overwrite"]) == 2
    with RunFolder(folder).owned():  # it is under way
        assert main(given) == 2
    assert "another run writes there" in capsys.readouterr().err
    assert main([*given, "--overwrite", "--train.epochs=2"]) == 0
    assert "epoch 1/2" in capsys.readouterr().out


def test_methods_start_from_the_same_weights_and_see_the_same_batches(small, tmp_path):
    frozen = ["--train.epochs=1", "--train.lr=1e-30", "--train.weight_decay=0"]
    main([*small, *frozen, "--methods", "Vanilla", "KD", "TRG"])
    vanilla = last_weights(tmp_path, "Vanilla")
    for method in ("KD", "TRG"):
        other = last_weights(tmp_path, method)
        # With next to no learning only batch statistics change, and they are those of the batches that were seen.
        assert all(torch.allclose(vanilla[name], other[name], rtol=0, atol=1e-20) for name in vanilla)


def test_long_tailed_data_report_their_groups(small, capsys):
    assert main([*small, "--methods", "Vanilla", "--data.imbalance=4", "--train.epochs=1"]) == 0
    printed = capsys.readouterr().out
    assert "classes: 0 many, 0 medium, 3 few" in printed
    assert "few" in next(line for line in printed.splitlines() if line.startswith("| method"))


def test_a_teacher_whose_accuracy_is_not_the_stated_one_is_refused(small, tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "teacher.safetensors"
    save_weights(resnet8(3), weights, {"accuracy": "99.00"})
    given = [*small, "--methods", "KD", f"--teacher.weights={weights}"]
    assert main(given) == 2
    message = capsys.readouterr().err
    assert "states 99.00 %" in message
    assert "teacher.mean" in message
    assert main([*given, "--teacher.accuracy_tolerance=null"]) == 0


def bad_input(images, tmp_path):
    """Name, arguments after those of a small study, and what the one line must say."""
    other = tmp_path / "other.safetensors"
    save_weights(resnet8(7), other, {})
    incomplete = images.parent / "incomplete"
    for split in ("train", "test"):
        for name in ("red", "green") if split == "test" else ("red", "green", "blue"):
            folder = incomplete / split / name
            folder.mkdir(parents=True)
            (folder / "0.png").write_bytes((images / "train" / "red" / "0.png").read_bytes())
    return {
        "missing folder": ([f"--data.root={tmp_path / 'nowhere'}"], ["nowhere"]),
        "class missing in the test split": ([f"--data.root={incomplete}"], ["blue", "test"]),
        "teacher of other classes": ([f"--teacher.weights={other}"], ["7 classes", "3"]),
        "unknown tap": (["--student.taps=[layer5]"], ["layer5", "layer3"]),
        "patch": (["--distiller=TRG", "--distiller.patch=3"], ["patch=3", "4x4", "1, 2, 4"]),
        "nothing to compare": (
            ["--distiller=TRGPaper", "--distiller.patch=4", "--distiller.beta=0", "--distiller.gamma=0"],
            ["inner of images of 1 token"],
        ),
        "last batch too small": (
            ["--distiller=TRGPaper", "--distiller.tokens_per_image=1", "--train.batch_size=7"],
            ["batch of 1 of 36", "TRGPaper needs 2 images"],
        ),
        "unknown key": (["--trian.epochs=1"], ["trian.epochs", "train.epochs"]),
        "impossible value": (["--train.batch_size=0"], ["train.batch_size", "0"]),
        "impossible loss weight": (["--distiller=TRG", "--distiller.gamma=-1"], ["gamma=-1"]),
        "unknown network": (["--student.name=resnet21"], ["resnet21", "resnet20"]),
        "unknown device": (["--device=abacus"], ["abacus"]),
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing folder",
        "class missing in the test split",
        "teacher of other classes",
        "unknown tap",
        "patch",
        "nothing to compare",
        "last batch too small",
        "unknown key",
        "impossible value",
        "impossible loss weight",
        "unknown network",
        "unknown device",
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_before_anything_is_trained(case, small, images, tmp_path, capsys):
    arguments, words = bad_input(images, tmp_path)[case]
    assert main([*small, *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("trg run: error: ")
    assert [word for word in words if word not in line] == []
    assert not (tmp_path / "runs").exists()


def test_the_process_itself_exits_with_2_and_without_a_traceback(tmp_path):
    command = [sys.executable, "experiments/run.py", "--data=ImageFolder", f"--data.root={tmp_path / 'nowhere'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "nowhere" in line


def test_a_transformer_learns_from_a_convolutional_network(small, tmp_path):
    vit = ["--student.name=vit_tiny_patch4_32", "--student.args={image_size: 16, depth: 1}"]
    assert main([*small, *vit, "--methods", "TRG", "--train.optimizer=AdamW", "--train.lr=0.001"]) == 0
    (folder,) = (tmp_path / "runs").glob("ImageFolder/resnet8-vit_tiny_patch4_32/TRG-*/seed0")
    assert len(history(folder)) == 2


def test_wandb_offline_keeps_its_files_in_the_run_folder(small, tmp_path):
    named = ["--wandb_name=trial", "--wandb_tags=[fruit]", "--wandb_notes=as told", "--wandb_steps=1"]
    assert main([*small, "--methods", "Vanilla", "--train.epochs=1", "--wandb=offline", *named]) == 0
    wandb.teardown()  # which waits until all is written
    (folder,) = run_folders(tmp_path, "Vanilla")
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    for text in (b"trial Vanilla seed 0", b"fruit", b"as told", b"step/total"):  # as plain bytes
        assert text in file.read_bytes()


def test_no_file_of_a_run_has_a_secret_of_the_environment(small, tmp_path, monkeypatch):
    key, token, address = "0123456789abcdef" * 3, "token-4711-of-somebody", "somebody@example.org"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("SECRET_TOKEN", token)
    monkeypatch.setenv("WANDB_EMAIL", address)
    wandb.teardown()  # so that it reads the environment, and its service gets it
    assert main([*small, "--methods", "Vanilla", "--train.epochs=1", "--wandb=offline"]) == 0
    wandb.teardown()  # which waits until all is written
    files = {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    suffixes = {file.suffix for file in files}
    assert {".yaml", ".json", ".jsonl", ".pt", ".safetensors", ".md", ".wandb", ".log"} <= suffixes
    assert all(b"epoch" in content for file, content in files.items() if file.suffix == ".wandb")  # as plain bytes
    for secret in (key, token, address, "SECRET_TOKEN", sys.executable):
        assert [file.name for file, content in files.items() if secret.encode() in content] == []


def test_a_distiller_and_a_network_from_outside_the_package_need_no_registration(small, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        """
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from trg_pyg.distillers import Distiller


class LogitMatch(Distiller):
    def __init__(self, student, teacher, *, weight: float = 2.0):
        super().__init__(student, teacher)
        self.weight = weight

    def forward(self, student, teacher, step):
        ce = cross_entropy(student.logits, step.target)
        return self.weigh({"ce": (1.0, ce), "match": (self.weight, mse_loss(student.logits, teacher.logits))})


class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3, stride=4)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    chosen = [
        "--distiller=mine.LogitMatch",
        "--distiller.weight=3",
        "--student.name=mine.Net",
        "--student.args.width=6",
    ]
    assert main([*small, *chosen]) == 0
    (folder,) = (tmp_path / "runs").glob("ImageFolder/resnet8-mine.Net/LogitMatch-*/seed0")
    assert {"train/ce", "train/match"} <= set(history(folder)[0])
    assert last_weights_of(folder)["body.weight"].shape[0] == 6


def test_a_training_that_diverges_stops_with_a_line_that_names_the_part(small, capsys):
    assert main([*small, "--methods", "Vanilla", "--train.lr=1e30", "--train.epochs=2"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("trg run: stopped: Vanilla: in epoch ")
    assert "train.lr" in line


def test_a_training_goes_on_where_a_line_of_metrics_cannot_be_written(small, tmp_path, monkeypatch):
    def refuse(folder, metrics):
        raise OSError(28, "No space left on device", str(folder.metrics))

    monkeypatch.setattr("trg_pyg.study.folder.RunFolder.append", refuse)
    with pytest.warns(UserWarning, match="No space left.*training goes on without this epoch's line"):
        assert main([*small, "--methods", "Vanilla"]) == 0
    (folder,) = run_folders(tmp_path, "Vanilla")
    assert [epoch["epoch"] for epoch in history(folder)] == [1, 2]


def test_an_output_that_cannot_be_written_is_one_line_and_exit_code_2(small, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([*small, "--methods", "Vanilla", f"--output={tmp_path / 'file' / 'runs'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"trg run: error: output={tmp_path / 'file' / 'runs'}: nothing can be written in ")
