"""``trg run`` under torchrun: two processes, one study."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def torchrun():
    """Runs a study in two processes; a hang ends with an exception, and takes the processes along."""

    def torchrun(arguments: list[str], script: str | Path = "experiments/run.py") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        environment = {name: value for name, value in os.environ.items() if name not in LAUNCH}
        environment |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [*command, script, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its processes
            process.communicate(timeout=30)
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return torchrun


def test_two_processes_leave_what_one_leaves(small, tmp_path, torchrun):
    given = [argument for argument in small if not argument.startswith("--wandb")]
    done = torchrun([*given, "--wandb=offline", "--methods", "KD", "TRG"])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert rows == ["method", "teacher resnet8", "KD", "TRG"]
    # The table, the announcement, the teacher's accuracy and the line of an epoch are there once each.
    assert len([line for line in lines if line.startswith("teacher resnet8: ")]) == 1
    assert [line.split("  test")[0] for line in lines if "epoch " in line and " test " in line] == [
        "teacher resnet8  epoch 1/1",
        *(f"{method} seed 0  epoch {epoch}/2" for method in ("KD", "TRG") for epoch in (1, 2)),
    ]
    runs = tmp_path / "runs"
    metrics = sorted(runs.glob("ImageFolder/*/*/seed0/metrics.jsonl"))
    assert [file.parent.parent.name.partition("-")[0] for file in metrics] == ["KD", "TRG"]
    for file in metrics:
        assert [json.loads(line)["epoch"] for line in file.read_text().splitlines()] == [1, 2]
        assert len(list(file.parent.glob("wandb/offline-run-*"))) == 1
        assert (file.parent / "last.safetensors").is_file()
    assert len(list(runs.glob("ImageFolder/*/table.md"))) == 1


def test_what_cannot_be_shared_out_ends_all_processes_with_a_line_and_no_folder(small, tmp_path, torchrun):
    done = torchrun([*small, "--methods", "KD", "--train.batch_size=35"])
    assert done.returncode != 0
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "run.py: error: " in line]
    # torchrun ends the slower process, maybe before it could say the same.
    assert 1 <= len(errors) <= 2
    assert all("train.batch_size = 35 leaves a batch of 1 of 36 training images" in line for line in errors)
    assert 'experiments/run.py", line' not in done.stderr  # torchrun has a traceback of its own
    assert not (tmp_path / "runs").exists()


# As trg run, but one process does something of its own before its second step of the second epoch.
DISTURBED = """
import os
import signal
import sys
import time

import torch

from trg_pyg.cli.run import main
from trg_pyg.errors import InputError
from trg_pyg.training.learner import Learner

update = Learner.update


def disturbed(learner):
    if os.environ["RANK"] == "{rank}" and learner.place == (1, 1):
        {act}
    update(learner)


Learner.update = disturbed
sys.exit(main())
"""
DIGITS = ["--distiller=Vanilla", "--train.epochs=3", "--train.batch_size=512", "--wandb=disabled", "--device=cpu"]


def epochs_shown(done):
    lines = [line for line in done.stdout.splitlines() if " epoch " in line and " test " in line]
    return [line.partition(" epoch ")[2].split()[0] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "act", "message"),
    [
        (1, "os.kill(os.getpid(), signal.SIGKILL)", "Signal 9 (SIGKILL)"),
        (0, "os.kill(os.getpid(), signal.SIGKILL)", "Signal 9 (SIGKILL)"),
        (1, "raise InputError('wrong in one process alone')", "trg run: error: wrong in one process alone"),
        (0, "raise torch.OutOfMemoryError('too much for one process')", "too much for one process"),
    ],
)
def test_a_process_that_dies_ends_the_others_and_the_run_can_be_resumed(tmp_path, torchrun, rank, act, message):
    script = tmp_path / "disturbed.py"
    script.write_text(DISTURBED.format(rank=rank, act=act))
    arguments = [*DIGITS, f"--output={tmp_path / 'runs'}"]
    died = torchrun(arguments, script)
    assert died.returncode != 0
    assert message in died.stderr
    assert epochs_shown(died) == ["1/3"]
    resumed = torchrun([*arguments, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert epochs_shown(resumed) == ["2/3", "3/3"]
    (metrics,) = (tmp_path / "runs").glob("Digits/*/Vanilla-*/seed0/metrics.jsonl")
    assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == [1, 2, 3]
    assert (metrics.parent / "last.safetensors").is_file()


@pytest.mark.slow
def test_a_process_that_hangs_is_waited_for_no_longer_than_was_asked(tmp_path, torchrun):
    script = tmp_path / "disturbed.py"
    # torchrun gives a process that does not listen 30 seconds before it kills it.
    act = "signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(600)"
    script.write_text(DISTURBED.format(rank=1, act=act))
    died = torchrun([*DIGITS, f"--output={tmp_path / 'runs'}", "--wait_minutes=0.25"], script)
    assert died.returncode != 0
    assert "15000ms" in died.stderr
    assert epochs_shown(died) == ["1/3"]
