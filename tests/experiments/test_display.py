import pytest
import torch

from experiments.display import Display
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
}


def progress(step):
    meter = Meter()
    meter.update({"ce": torch.tensor(1.25), "total": torch.tensor(2.5)}, weight=4)
    return Progress(epoch=1, step=step, steps=3, meter=meter)


def take_three_steps(display):
    for step in (1, 2, 3):
        display.step(progress(step))
    display.close()


def test_an_epoch_is_a_line_with_accuracy_groups_and_loss_parts(capsys):
    Display("KD seed 0", epochs=2, batch_size=4, quiet=False).epoch(METRICS)
    assert capsys.readouterr().out == (
        "KD seed 0  epoch 1/2  test 51.25 %  many 60.0  train 70.00 %  ce 1.5 kd 1  800 images/s\n"
    )


def test_a_terminal_shows_a_bar_with_loss_parts_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    take_three_steps(Display("KD seed 0", epochs=2, batch_size=4, quiet=False))
    bar = capsys.readouterr().err
    for piece in ("KD seed 0", "3/6", "epoch 1/2", "ce 1.25", "images/s", "<"):
        assert piece in bar


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_there_is_no_bar_without_a_terminal_or_when_quiet(capsys, monkeypatch, terminal, quiet):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    display = Display("KD seed 0", epochs=2, batch_size=4, quiet=quiet)
    take_three_steps(display)
    assert capsys.readouterr().err == ""
    if quiet:
        display.epoch(METRICS)
        assert capsys.readouterr().out == ""
