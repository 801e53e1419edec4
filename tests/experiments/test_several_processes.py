"""``run.py`` under torchrun: two processes, one study."""

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

    def torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        environment = {name: value for name, value in os.environ.items() if name not in LAUNCH}
        environment |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        process = subprocess.Popen(
            [*command, "experiments/run.py", *arguments],
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
