import re
import sys
import warnings

import pytest
import torch

from tests.study.test_agenda import planned
from trg_pyg._program import say
from trg_pyg.study.agenda import Agenda
from trg_pyg.study.progress import Bars, Display, duration, make_bars
from trg_pyg.training.loop import Progress
from trg_pyg.training.meter import Meter

METRICS = {
    "epoch": 1,
    "test/top1": 51.25,
    "test/many": 60.0,
    "train/top1": 70.0,
    "train/total": 2.5,
    "train/ce": 1.5,
    "train/kd": 1.0,
    "images_per_second": 800.4,
    "best/top1": 52.5,
}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(step, epoch=1, steps=3):
    meter = Meter()
    meter.update({"ce": torch.tensor(1.25), "total": torch.tensor(2.5), "top1": torch.tensor(12.5)}, weight=4)
    return Progress(epoch=epoch, step=step, steps=steps, meter=meter)


def agenda_of(tmp_path, names, epochs, histories=None):
    runs = [planned(tmp_path, name, seed) for name in names for seed in (0, 1)]
    known = {runs[number].folder: history for number, history in (histories or {}).items()}
    return Agenda([[run] for run in runs], epochs, known)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)


def shown(text):
    """What was written to the terminal, as the last state of its lines."""
    return [line for line in re.split(r"[\r\n]|\x1b\[A", text) if line.strip()]


def test_an_epoch_is_a_line_with_accuracy_groups_and_loss_parts(capsys):
    Display("KD seed 0", 2, None, quiet=False).epoch(METRICS)
    assert capsys.readouterr().out == (
        "KD seed 0  epoch 1/2  test 51.25 %  many 60.0  train 70.00 %  ce 1.5 kd 1  800 images/s\n"
    )


def test_a_line_says_where_accuracy_is_of_held_out_images(capsys):
    Display("KD seed 0", 2, None, quiet=False, evaluated="validation").epoch(METRICS)
    assert "  validation 51.25 %  " in capsys.readouterr().out


def test_the_bars_have_epoch_rate_time_left_accuracy_parts_and_the_place_in_the_study(capsys, terminal, tmp_path):
    clock, agenda = Clock(), agenda_of(tmp_path, ["KD", "TRG"], 2, {0: [{"seconds": 20.0}] * 2})
    agenda.begin(agenda.groups[1])
    bars = Bars("KD seed 1", 2, 4, agenda, clock)
    display = Display("KD seed 1", 2, bars, quiet=True)
    for step in (1, 2, 3):
        display.step(progress(step))
        clock.now += 10
    run, student, study = shown(capsys.readouterr().err)[-3:]
    assert run.startswith("KD seed 1  epoch 1/2 |")
    # Two steps in 20 s after the first; three are left.
    assert run.rstrip().endswith("|  50%  0:20, 0:30 left  0 images/s")
    assert student.strip() == "train 12.5 %  ce 1.25"
    assert study.startswith("study: run 2 of 4 |")
    # Of 8 epochs 3 are done; an epoch took 20 s before and takes 30 s now, and one is left of this run, 4 of TRG.
    assert study.rstrip().endswith("|  38%  about 2:10 left")
    display.epoch(METRICS)
    clock.now += 10
    display.step(progress(1, epoch=2))
    clock.now += 10
    display.step(progress(2, epoch=2))
    assert "  test 51.25 %  best 52.50 %  train 12.5 %" in capsys.readouterr().err
    bars.close()
    assert shown(capsys.readouterr().err) == []


def test_images_per_second_leave_the_evaluation_out(capsys, terminal):
    clock = Clock()
    bars = Bars("KD seed 0", 2, 4, None, clock)
    display = Display("KD seed 0", 2, bars, quiet=True)
    for epoch in (1, 2):
        for step in (1, 2, 3):
            clock.now += 1
            display.step(progress(step, epoch))
        clock.now += 100
    assert "4 images/s" in shown(capsys.readouterr().err)[-2]
    bars.close()


def test_students_side_by_side_have_a_line_each_below_one_bar(capsys, terminal, tmp_path):
    clock = Clock()
    bars = Bars("2 students, seed 0", 1, 4, None, clock)
    displays = [Display(f"{name} seed 0", 1, bars, quiet=True) for name in ("KD", "TRG")]
    for step in (1, 2, 3):
        for display in displays:
            clock.now += 1
            display.step(progress(step))
    run, *students = shown(capsys.readouterr().err)[-3:]
    assert run.startswith("2 students, seed 0  epoch 1/1 |")
    assert "100%" in run
    assert [line.split(":")[0].strip() for line in students] == ["KD seed 0", "TRG seed 0"]
    bars.close()


def test_a_resumed_student_begins_with_its_accuracy_and_place(capsys, terminal):
    clock = Clock()
    bars = Bars("KD seed 0", 4, 4, None, clock)
    display = Display("KD seed 0", 4, bars, quiet=True, last=METRICS)
    for step in (1, 2, 3):
        clock.now += 1
        display.step(progress(step, epoch=3))
    run, student = shown(capsys.readouterr().err)[-2:]
    assert run.rstrip().endswith("|  75%  0:03, 0:03 left  4 images/s")
    assert "test 51.25 %  best 52.50 %" in student
    bars.close()


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
def test_no_line_is_longer_than_the_terminal(columns, capsys, terminal, monkeypatch, tmp_path):
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda file: (columns, 24))
    agenda = agenda_of(tmp_path, ["a method of {a long} name" * 2, "KD"], epochs=1)
    agenda.begin(agenda.groups[0])
    clock = Clock()
    bars = Bars("a method of {a long} name", 1, 4, agenda, clock)
    display = Display("a", 1, bars, quiet=True, last=METRICS)
    for step in (1, 2, 3):
        clock.now += 1
        display.step(progress(step))
    lines = [line for line in shown(capsys.readouterr().err) if "\x1b" not in line]
    assert len(lines) >= 3
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("a method of {a long}") for line in lines)
    bars.close()


def test_warnings_go_above_the_bars_and_as_before_once_they_are_closed(capsys, terminal):
    before = warnings.showwarning
    bars = Bars("KD seed 0", 1, 4, None, Clock())
    display = Display("KD seed 0", 1, bars, quiet=True)
    display.step(progress(1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert warnings.showwarning is not before
        warnings.showwarning("a full disk", UserWarning, "learner.py", 3)
    assert "UserWarning: a full disk" in capsys.readouterr().err
    bars.close()
    assert warnings.showwarning is before


@pytest.mark.parametrize("is_terminal", [False, True])
def test_nothing_is_seen_of_a_quiet_training(capsys, monkeypatch, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    assert make_bars("KD seed 0", 2, 4, None, quiet=True) is None
    Display("KD seed 0", 2, None, quiet=True).epoch(METRICS)
    assert capsys.readouterr() == ("", "")


def test_in_a_file_there_is_a_line_a_minute(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    clock = Clock()
    bars = make_bars("KD seed 0", 2, 4, None, quiet=False)
    bars._clock = clock
    display = Display("KD seed 0", 2, bars, quiet=False)
    for step in range(1, 11):
        display.step(progress(step, steps=10))
        clock.now += 25
    bars.close()
    out, err = capsys.readouterr()
    # After 75, 150 and 225 s; the last is the end of the epoch, which has its own line.
    assert out.splitlines() == [
        "KD seed 0  epoch 1/2  step 4/10  train 12.5 %  ce 1.25  0 images/s  6:40 left",
        "KD seed 0  epoch 1/2  step 7/10  train 12.5 %  ce 1.25  0 images/s  5:25 left",
    ]
    assert err == ""


def test_a_terminal_has_bars(terminal):
    assert isinstance(make_bars("KD seed 0", 2, 4, None, quiet=False), Bars)


def test_a_line_goes_to_where_it_is_meant_to_go(capsys):
    say("a line")
    say("wandb failed", error=True)
    assert capsys.readouterr() == ("a line\n", "wandb failed\n")
    assert not sys.stdout.closed


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (62, "1:02"), (754.6, "12:35"), (3723, "1:02:03"), (90061, "1 day, 1:01:01")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
