import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.faults.recipe import EPOCHS, arguments
from experiments.faults.standing import (
    Place,
    differences,
    done_again,
    is_teacher,
    run_folders,
    standing,
    steps_back,
    unequal,
)
from trg_pyg.cli.run import main
from trg_pyg.training.checkpoint import load_checkpoint, save_checkpoint


def student_of(tree):
    (folder,) = (folder for folder in run_folders(tree) if not is_teacher(folder))
    return tree / folder


def edit_checkpoint(tree, edit):
    file = student_of(tree) / "checkpoint.pt"
    state = load_checkpoint(file)
    edit(state)
    save_checkpoint(file, state)


def nudge(tensor):
    """Change the lowest bit of one value."""
    tensor.view(torch.uint8).flatten()[0] ^= 1


def test_values_are_compared_bit_by_bit():
    one = {"a": torch.tensor([1.0, math.nan]), "b": [0.0, math.nan, "x", None], "c": {"d": torch.arange(3)}}
    assert list(unequal(one, {**one, "b": [0.0, math.nan, "x", None]})) == []
    other = one["a"].clone()
    nudge(other)
    assert list(unequal(one, {**one, "a": other})) == [".a: another tensor"]
    assert list(unequal(one, {**one, "b": [-0.0, math.nan, "x", None]})) == [".b[0]: -0.0 for 0.0"]
    assert list(unequal(one, {**one, "b": [0.0]})) == [".b: 1 entries for 4"]
    assert list(unequal(one, {"a": one["a"], "b": one["b"]})) == [".c: missing"]
    assert list(unequal({}, {"e": 1})) == [".e: not expected"]
    assert list(unequal({"a": 1}, {"a": 1.0})) == [".a: a float for a int"]
    assert list(unequal({"a": torch.zeros(2)}, {"a": torch.zeros(1, 2)})) == [".a: another tensor"]


def test_times_are_not_compared():
    assert list(unequal({"seconds": 1.0, "ms_per_step": 2.0}, {"seconds": 3.0, "images_per_second": 1.0})) == []


def test_a_copy_of_a_run_has_lost_nothing(finished, copied):
    assert differences(finished, copied) == []
    places, wrong = standing(copied)
    assert wrong == []
    assert sorted(places.values()) == [Place(1, 0), Place(EPOCHS, 0)]


def other_draws():
    return torch.Generator().manual_seed(99).get_state()


def bank(state):
    next(value for name, value in state["distiller"].items() if name.endswith("student.vectors")).mul_(1.01)


def momentum(state):
    state["optimizer"]["state"][0]["momentum_buffer"].mul_(1.01)


def draws(state):
    state["streams"][0]["draws"] = other_draws()


def dropout(state):
    state["streams"][0]["dropout"]["cpu"] = other_draws()


def loader(state):
    state["loader"]["epoch"] = state["loader"]["generator"] = other_draws()


def history(state):
    state["history"].pop()


@pytest.mark.parametrize("edit", [bank, momentum, draws, dropout, loader, history])
def test_whatever_a_checkpoint_has_lost_is_counted(finished, copied, edit):
    edit_checkpoint(copied, edit)
    assert len(differences(finished, copied)) >= 1


def test_weights_metrics_and_whole_runs_that_are_lost_are_counted(finished, copied):
    folder = student_of(copied)
    weights = load_file(folder / "last.safetensors")
    nudge(weights["head.bias"])
    save_file(weights, folder / "last.safetensors")
    found = differences(finished, copied)
    assert [what for what in found if "head.bias: another tensor" in what]
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text(lines[0])
    (folder / "best.safetensors").unlink()
    found = differences(finished, copied)
    assert [what for what in found if what.endswith("metrics.jsonl : 1 entries for 2")]
    assert [what for what in found if what.endswith("best.safetensors: missing")]
    for file in folder.iterdir():
        file.unlink()
    assert len(differences(finished, copied)) == 4


def test_runs_that_nobody_asked_for_are_counted(finished, copied):
    (copied / "more").mkdir()
    (copied / "more" / "config.yaml").touch()
    assert differences(finished, copied) == ["more: not expected"]


def test_comparing_with_nothing_is_an_error(finished, tmp_path):
    with pytest.raises(ValueError, match="no runs to compare with"):
        differences(tmp_path, finished)


def test_damage_and_lines_ahead_of_the_checkpoint_are_wrong(copied):
    folder = student_of(copied)
    (folder / "checkpoint.pt").write_bytes(b"rubbish")
    _, wrong = standing(copied)
    assert "Going on from checkpoint.1.pt" in wrong[0]
    assert "metrics of 2 epochs, a checkpoint of 1" in wrong[1]
    (folder / "checkpoint.1.pt").unlink()
    places, wrong = standing(copied)
    assert "can be read" in wrong[0]
    assert len(places) == 1


def test_a_line_that_was_cut_is_wrong(copied):
    file = student_of(copied) / "metrics.jsonl"
    file.write_text(file.read_text()[:-20])
    _, wrong = standing(copied)
    assert ["metrics.jsonl" in what for what in wrong] == [True]


def test_steps_that_are_gone_and_epochs_done_twice_are_seen():
    a, b = Path("A/seed0"), Path("teachers/t")
    assert steps_back({a: Place(1, 0), b: Place(1, 0)}, {a: Place(1, 50), b: Place(1, 0)}) == []
    assert len(steps_back({a: Place(1, 50), b: Place(1, 0)}, {a: Place(1, 0)})) == 2
    printed = "TRG seed 0  epoch 2/3  test 1 %\nteacher net  epoch 1/1  test 2 %\n"
    assert done_again(printed, {a: Place(1, 0)}) == []
    assert done_again(printed, {a: Place(2, 0), b: Place(1, 0)}) == [
        "TRG seed 0: epoch 2 was done again",
        "teacher net: epoch 1 was done again",
    ]


class Stopped(Exception):
    pass


def stop_after_the_first_epoch(tree, monkeypatch):
    def stop(display, metrics):
        if "teacher" not in display.title:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("trg_pyg.study.progress.Display.epoch", stop)
        with pytest.raises(Stopped):
            main(arguments("CRD", tree))


@pytest.mark.parametrize(
    "edit", [None, bank, *(pytest.param(each, marks=pytest.mark.slow) for each in (momentum, draws, dropout, loader))]
)
def test_a_resumption_from_another_state_ends_in_other_values(finished, tmp_path, monkeypatch, edit):
    stop_after_the_first_epoch(tmp_path, monkeypatch)
    if edit is not None:
        edit_checkpoint(tmp_path, edit)
    assert main([*arguments("CRD", tmp_path), "--quiet"]) == 0
    found = differences(finished, tmp_path)
    assert bool(found) is (edit is not None)
    assert any("last.safetensors" in what for what in found) is (edit is not None)
