"""``teacher_store``: the runs of a study share what their teacher said."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file

from trg_pyg.cli.run import main
from trg_pyg.study import train


def weights(output: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted(output.glob("ImageFolder*/*/*/seed*/last.safetensors"))
    return {str(file.relative_to(output)): load_file(file) for file in files}


def images_through(printed: str) -> list[tuple[int, int]]:
    told = re.findall(r"teacher store: ([\d,]+) images were sent through the teacher for ([\d,]+) asked for", printed)
    return [(int(computed.replace(",", "")), int(asked.replace(",", ""))) for computed, asked in told]


def test_runs_share_what_a_teacher_said_and_are_what_they_are_without(small, tmp_path, capsys, monkeypatch):
    given = [*small, "--methods", "TRG", "KD", "--distiller", "TRG", "--distiller.k=4"]
    assert main(given) == 0
    expected = weights(tmp_path / "runs")
    assert len(expected) == 2
    shown = []
    monkeypatch.setattr(train, "filling", lambda quiet: shown.append([]) or (lambda *told: shown[-1].append(told)))
    capsys.readouterr()
    stored = [*given, f"--output={tmp_path / 'stored'}", "--teacher_store=maps"]
    assert main([*stored, "--fill_store=true", "--data.crop_padding=0"]) == 0
    (first, asked), (second, _) = images_through(capsys.readouterr().out)
    assert asked == 2 * 36
    assert (first, second) == (2 * 36, 0)
    assert [each[-1] for each in shown] == [(2 * 36, 2 * 36)]  # once for both methods
    assert main(stored) == 0
    assert images_through(capsys.readouterr().out)[1][0] < asked
    found = weights(tmp_path / "stored")
    for run, values in expected.items():
        assert [name for name, value in values.items() if not torch.equal(found[run][name], value)] == []


def test_a_long_tail_has_the_rows_of_the_whole_data_and_other_pixels_have_not(small, tmp_path):
    assert main([*small, "--methods", "KD"]) == 0
    (teacher,) = (tmp_path / "runs" / "teachers").rglob("last.safetensors")
    given = [*small, "--methods", "KD", f"--teacher.weights={teacher}", "--teacher.accuracy_tolerance=null"]
    given += [f"--output={tmp_path / 'stored'}", "--teacher_store=logits"]
    files = []
    for more in (["--data.imbalance=2"], ["--data.validation=0.2"], [], ["--data.size=24"]):
        assert main([*given, *more]) == 0
        files.append(len(list((tmp_path / "stored" / "teachers" / "stored").iterdir())))
    assert files == [1, 1, 1, 2]


def test_off_is_off_in_a_file_too(small, tmp_path, capsys):
    file = tmp_path / "off.yaml"
    file.write_text("teacher_store: off\n")
    assert main(["--config", str(file), *small, "--dry_run"]) == 0
    assert main([*small, "--dry_run", "--teacher_store=off"]) == 0
