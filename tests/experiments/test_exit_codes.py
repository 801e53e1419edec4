import pytest

from experiments.exit_codes import exit_code_of
from trg_pyg.errors import InputError
from trg_pyg.training.loop import TrainingDiverged, TrainingStopped


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("lr=0: too low"), 2, "x.py: error: lr=0: too low\n"),
        (TrainingStopped("SIGTERM after epoch 1"), 75, "x.py: SIGTERM after epoch 1\n"),
        (TrainingDiverged("ce is nan"), 1, "x.py: stopped: ce is nan\n"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            2,
            "x.py: error: a process that decodes images is lost, most often for lack of memory (DataLoader worker (pid "
            "7) is killed by signal: Killed); set data.workers lower (0 decodes in the training process), or free "
            "memory, and resume from the last checkpoint\n",
        ),
    ],
)
def test_what_went_wrong_is_one_line_and_a_code(error, code, line, capsys):
    def work():
        raise error

    assert exit_code_of(work, "x.py") == code
    assert capsys.readouterr().err == line


def test_what_went_well_is_silent(capsys):
    assert exit_code_of(lambda: None, "x.py") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyError("a bug"), RuntimeError("CUDA error: a bug")])
def test_an_error_of_the_program_is_not_hidden(error):
    def work():
        raise error

    with pytest.raises(type(error)):
        exit_code_of(work, "x.py")
