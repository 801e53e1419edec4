"""Methods side by side: ``share_teacher``."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trg_pyg.cli.run import main
from trg_pyg.models.cifar.resnet import CifarResNet
from trg_pyg.study.progress import Display

METHODS = ["Vanilla", "KD", "TRG"]
CLOCK = ("ms/step", "s/epoch")


class Stop(Exception):
    """Stands for whatever ends a study."""


def rows(text: str) -> list[dict[str, str]]:
    """The table without its columns of the clock."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return [{k: v for k, v in zip(cells[0], row, strict=True) if k not in CLOCK} for row in cells[1:]]


def weights(output: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted(output.glob("ImageFolder/*/*/seed*/last.safetensors"))
    return {f"{file.parent.parent.name.partition('-')[0]} {file.parent.name}": load_file(file) for file in files}


def check_same(one: Path, other: Path) -> None:
    found, expected = weights(one), weights(other)
    assert found.keys() == expected.keys()
    for run, values in expected.items():
        assert [name for name, value in values.items() if not torch.equal(found[run][name], value)] == []


def histories(output: Path) -> dict[str, list[dict[str, Any]]]:
    files = sorted(output.glob("ImageFolder/*/*/seed0/metrics.jsonl"))
    return {
        file.parent.parent.name.partition("-")[0]: [json.loads(line) for line in file.read_text().splitlines()]
        for file in files
    }


def test_a_method_with_images_of_its_own_leaves_the_others_as_they_are(small, tmp_path, capsys):
    """What HintDynamic holds out is trained on by the others, and it sees other batches."""
    method = ["--distiller", "HintDynamic", "--distiller.every=1"]
    assert main([*small, "--methods", "Vanilla", "KD"]) == 0
    capsys.readouterr()
    others = [*small, f"--output={tmp_path / 'others'}"]
    assert main([*others, "--methods", "Vanilla", "HintDynamic", "KD", *method, "--share_teacher=true"]) == 0
    told = capsys.readouterr().out
    assert "HintDynamic  4.5 passes  1 ce + 1 logits + 1 map + 1 attention; holds out 6 images of its own" in told
    assert "HintDynamic holds out 6 of the training images for itself, and is trained on the others" in told
    assert {row["method"] for row in rows(told)} >= {"Vanilla", "KD", "HintDynamic"}
    found, expected = weights(tmp_path / "others"), weights(tmp_path / "runs")
    for run, values in expected.items():
        assert all(torch.equal(value, found[run][name]) for name, value in values.items())
    assert [epoch["own_heldout"] for epoch in histories(tmp_path / "others")["HintDynamic"]] == [6, 6]
    # Taken from all, they choose the best epoch too.
    assert main([*others, "--methods", "HintDynamic", *method, "--data.heldout=0.05"]) == 0
    told = capsys.readouterr().out
    assert "30 training and 12 test images of 16x16, 6 held out to choose by, 3 classes of 10" in told
    assert "for itself" not in told


def test_a_shared_teacher_gives_the_same_table_and_weights(small, tmp_path, capsys, monkeypatch):
    arguments = [*small, "--methods", *METHODS, "--seeds", "0", "1"]
    assert main(arguments) == 0
    expected = rows(capsys.readouterr().out)
    looks = []
    forward = CifarResNet.forward

    def counted(self: CifarResNet, images: torch.Tensor) -> torch.Tensor:
        looks.append((self.training, len(images)))
        return forward(self, images)

    monkeypatch.setattr(CifarResNet, "forward", counted)
    shared = tmp_path / "shared"
    assert main([*arguments, f"--output={shared}", "--share_teacher=true"]) == 0
    found = rows(capsys.readouterr().out)
    assert [row["method"] for row in found] == ["teacher resnet8", *METHODS]
    assert found == expected
    check_same(shared, tmp_path / "runs")
    # Batches of 18 in training mode: of the teacher's own epoch 2, of 3 methods, 2 seeds and 2 epochs 24. In eval mode
    # the teacher looks at them once for all methods.
    assert looks.count((True, 18)) == 2 + 24
    assert looks.count((False, 18)) == 8


def test_methods_that_were_stopped_at_different_places_go_on_together(small, tmp_path, capsys, monkeypatch):
    arguments = [*small, "--share_teacher=true", "--quiet"]
    whole = tmp_path / "whole"
    assert main([*arguments, f"--output={whole}", "--methods", *METHODS]) == 0
    expected = rows(capsys.readouterr().out)
    # KD is finished, TRG has an epoch, Vanilla is not begun.
    assert main([*arguments, "--methods", "KD"]) == 0

    def stop(display: Display, metrics: dict[str, float]) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Display, "epoch", stop)
        with pytest.raises(Stop):
            main([*arguments, "--methods", "TRG", "--resume"])
    runs = tmp_path / "runs"
    before = histories(runs)
    assert {method: len(history) for method, history in before.items()} == {"KD": 2, "TRG": 1}
    capsys.readouterr()
    assert main([*arguments, "--resume", "--methods", *METHODS]) == 0
    assert rows(capsys.readouterr().out) == expected
    check_same(runs, whole)
    after = histories(runs)
    assert {method: len(history) for method, history in after.items()} == dict.fromkeys(METHODS, 2)
    assert after["KD"] == before["KD"]
    assert after["TRG"][0] == before["TRG"][0]
