import json

import pytest
import torch
from safetensors.torch import load_file

from trg_pyg.cli import diagnose
from trg_pyg.cli.run import main as run
from trg_pyg.training.checkpoint import load_checkpoint

METHODS = ["Vanilla", "TRG", "HKD"]


def trained(output):
    """Weights, metrics and all that a training goes on from, random streams and memory banks too, but for times."""
    timing = ("seconds", "images_per_second", "ms_per_step")
    found = {}
    for folder in sorted(output.glob("*/*-*/*/seed*")):
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        history = [{k: v for k, v in json.loads(line).items() if k not in timing} for line in lines]
        checkpoint = load_checkpoint(folder / "checkpoint.pt")
        rest = {name: part for name, part in checkpoint.items() if name not in ("history", "seconds")}
        assert {"student", "distiller", "optimizer", "streams", "loader"} <= rest.keys()
        found[folder.relative_to(output)] = load_file(folder / "last.safetensors"), history, rest
    return found


def same(one, other):
    """Whether nested values are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def looks(output, method, seed=0):
    (file,) = output.glob(f"*/*-*/{method}-*/seed{seed}/diagnosis.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_diagnosed_training_is_that_of_run(small, tmp_path, capsys):
    given = [*small, "--quiet", "--methods", *METHODS]
    assert run(given) == 0
    plain, seen = tmp_path / "runs", tmp_path / "seen"
    again = [*given, f"--output={seen}", "--probe_images=36"]
    assert diagnose.main(again) == 0
    # The teacher's training is nobody's to look at.
    assert not list(seen.glob("teachers/**/diagnosis.jsonl"))
    expected, found = trained(plain), trained(seen)
    assert len(found) == len(METHODS)
    assert same(found, expected)
    printed = capsys.readouterr().out
    for method in METHODS:
        lines = looks(seen, method)
        assert [line["epoch"] for line in lines] == [0, 1, 2]
        assert f"{method} seed 0, " in printed
        # The teacher, its images and tokens do not change.
        assert len({line["cross/share"] for line in lines}) == 1
        assert len({line["value/ce"] for line in lines}) == 3
    assert {name for name in looks(seen, "TRG")[0] if "/kd" in name} == {
        *("value/kd", "grad/kd", "grad_logits/kd", "cosine/kd")
    }


def test_a_stopped_training_goes_on_with_its_lines(small, tmp_path, monkeypatch, capsys):
    given = [*small, "--quiet", "--probe_images=36", "--methods", "KD"]
    assert diagnose.main(given) == 0
    whole = looks(tmp_path / "runs", "KD")

    class Stopped(Exception):
        pass

    def append(self, file, run, student, epoch):
        measured(self, file, run, student, epoch)
        if epoch == 1:
            raise Stopped

    measured = diagnose.Diagnosis._append
    with monkeypatch.context() as patch:
        patch.setattr(diagnose.Diagnosis, "_append", append)
        with pytest.raises(Stopped):
            diagnose.main([*given, "--overwrite"])
    assert looks(tmp_path / "runs", "KD") == whole[:2]
    assert diagnose.main([*given, "--resume"]) == 0
    assert looks(tmp_path / "runs", "KD") == whole
    # Finished, and nobody looked.
    for file in tmp_path.glob("runs/*/*-*/*/*/diagnosis.jsonl"):
        file.unlink()
    capsys.readouterr()
    assert diagnose.main([*given, "--resume"]) == 0
    assert "trained before it was looked at" in capsys.readouterr().out


def test_long_tailed_digits_by_the_command_line(tmp_path, capsys):
    options = [
        *("--data=Digits", "--data.imbalance=100", "--student.name=resnet8", "--teacher.name=resnet8"),
        *("--train.epochs=1", "--teacher.train.epochs=1", "--method_options={TRG: {tokens_per_image: 4, k: 3}}"),
        *("--wandb=disabled", "--device=cpu", "--quiet", f"--output={tmp_path}", "--share_teacher=true"),
    ]
    given = [*options, "--methods", "Vanilla", "TRG", "--probe_images=64", "--probe_batch=32"]
    assert diagnose.main(given) == 0
    for line in [*looks(tmp_path, "TRG"), *looks(tmp_path, "Vanilla")]:
        assert (line["probe_images"], line["probe_batch"]) == (64, 32)
        assert 0 < line["cross/tail"] < 1
        assert 0 < line["cross/tail_chance"] < 1
        assert line["recall/batch"] > line["recall/batch_chance"]
    assert [(line["k"], line["tokens"]) for line in looks(tmp_path, "TRG")] == [(3, 4)] * 2
    assert "| cross/tail" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--probe_images=many", "--probe_images many: expected int"),
        ("--probe_images=999", "the training set has 36 images"),
        ("--probe_image=4", "probe_image"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(option, message, small, capsys):
    assert diagnose.main([*small, option]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_is_that_of_both(capsys):
    with pytest.raises(SystemExit):
        diagnose.main(["--help"])
    printed = capsys.readouterr().out
    assert "--probe_images" in printed
    assert "--share_teacher" in printed
