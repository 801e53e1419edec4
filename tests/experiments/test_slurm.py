"""The scripts for Slurm, with stand-ins for Slurm's commands, for torchrun and for Python."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
VARIABLES = {
    "slurm.sh": {"JOB_ID": "77", "JOB_NODELIST": "node[1-2]", "NNODES": "2", "GPUS_ON_NODE": "4"},
    "slurm_array.sh": {"ARRAY_JOB_ID": "77", "ARRAY_TASK_ID": "2", "ARRAY_TASK_MAX": "3"},
}
PROGRAM = """
echo "$(basename "$0") $*" >> calls
trap 'echo saved >> calls; exit 75' TERM
echo $$ > pid.new && mv pid.new pid
if [ -e long ]; then while true; do sleep 0.02; done; fi
exit 3
"""
STAND_INS = {
    "scontrol": 'echo "scontrol $*" >> calls; [ "$1" = show ] && { echo node1; seq -f "node%.0f" 2 20000; } || true',
    # Signals every step of a job, as Slurm does: here the one process that wrote its number.
    "scancel": 'echo "scancel $*" >> calls; kill -TERM "$(cat pid)"',
    "srun": 'exec "$@"',
    "torchrun": PROGRAM,
    "python": PROGRAM,
}
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


@pytest.fixture
def start(tmp_path):
    """Starts a script as Slurm does, in a folder with the stand-ins."""
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, body in STAND_INS.items():
        (binaries / name).write_text(f"#!/bin/bash\n{body}\n")
        (binaries / name).chmod(0o755)

    def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
        of_slurm = {f"SLURM_{name}": value for name, value in VARIABLES[script].items()}
        environment = os.environ | of_slurm | {"PATH": f"{binaries}:{os.environ['PATH']}"}
        return subprocess.Popen(["bash", str(EXPERIMENTS / script), *arguments], cwd=tmp_path, env=environment)

    return start


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_a_job_starts_one_torchrun_a_machine_and_ends_with_its_exit_code(start, tmp_path):
    assert start("slurm.sh", "--seeds", "0").wait(timeout=60) == 3
    assert calls(tmp_path) == [
        "scontrol show hostnames node[1-2]",
        "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-id 77 --rdzv-backend c10d --rdzv-endpoint node1:29500 "
        "experiments/run.py --device cuda --resume --seeds 0",
    ]


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (
            ["--config", "a file.yml", "--methods", "KD", "TRG"],
            "experiments/run.py --config a file.yml --methods KD TRG --seeds 2 --table runs/array-77/seed2.md",
        ),
        (
            ["experiments/sweeps/trg.yaml", "--train.epochs", "30"],
            "experiments/sweep.py experiments/sweeps/trg.yaml --train.epochs 30 --count 4 --trial 2",
        ),
    ],
    ids=["seed", "trial of a sweep"],
)
def test_a_task_of_an_array_runs_what_has_its_number(start, tmp_path, arguments, call):
    assert start("slurm_array.sh", *arguments).wait(timeout=60) == 3
    assert calls(tmp_path) == [f"python {call} --device cuda --resume"]


@pytest.mark.parametrize(
    ("script", "code", "then"),
    [
        ("slurm.sh", 128 + signal.SIGUSR1, ["scancel --signal=TERM 77", "saved", "scontrol requeue 77"]),
        ("slurm_array.sh", 75, ["saved", "scontrol requeue 77_2"]),
    ],
)
def test_a_job_whose_time_ends_saves_its_training_and_is_queued_again(start, tmp_path, script, code, then):
    (tmp_path / "long").touch()
    process = start(script)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == code
    assert calls(tmp_path)[-len(then) :] == then
