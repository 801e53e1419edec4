import subprocess
import sys
import warnings

import pytest
import torch

import trg_pyg
from trg_pyg.cli._exit import exit_code_of
from trg_pyg.errors import InputError
from trg_pyg.training.loop import TrainingDiverged, TrainingStopped

CHATTY = """
import sys
from trg_pyg.cli._exit import exit_code_of
sys.exit(exit_code_of(lambda: print("a line\\n" * 100_000), "x"))
"""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("lr=0: too low"), 2, "trg x: error: lr=0: too low\n"),
        (TrainingStopped("SIGTERM after epoch 1"), 75, "trg x: SIGTERM after epoch 1\n"),
        (TrainingDiverged("ce is nan"), 1, "trg x: stopped: ce is nan\n"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            2,
            "trg x: error: a process that decodes images is lost, most often for lack of memory (DataLoader worker "
            "(pid 7) is killed by signal: Killed); set data.workers lower (0 decodes in the training process), or free "
            "memory, and resume from the last checkpoint\n",
        ),
    ],
)
def test_what_went_wrong_is_one_line_and_a_code(error, code, line, capsys):
    def work():
        raise error

    assert exit_code_of(work, "x") == code
    assert capsys.readouterr().err == line


def test_a_reader_that_has_enough_ends_a_command_without_a_word():
    process = subprocess.Popen([sys.executable, "-c", CHATTY], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_another_broken_pipe_is_an_error_of_the_program():
    def work():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        exit_code_of(work, "x")


def test_what_went_well_is_silent(capsys):
    assert exit_code_of(lambda: None, "x") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyError("a bug"), RuntimeError("CUDA error: a bug")])
def test_an_error_of_the_program_is_not_hidden(error):
    def work():
        raise error

    with pytest.raises(type(error)):
        exit_code_of(work, "x")


def test_a_warning_of_this_project_is_one_line_and_others_are_as_python_has_them(capsys):
    ours, theirs = trg_pyg.__file__, torch.__file__
    before = warnings.formatwarning

    def work():
        for category, file in ((UserWarning, ours), (UserWarning, theirs), (RuntimeWarning, ours)):
            sys.stderr.write(warnings.formatwarning("images are left out", category, file, 3, "f(x)"))

    assert exit_code_of(work, "x") == 0
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "trg x: warning: images are left out"
    assert others[::2] == [
        f"{theirs}:3: UserWarning: images are left out",
        f"{ours}:3: RuntimeWarning: images are left out",
    ]
    assert warnings.formatwarning is before
