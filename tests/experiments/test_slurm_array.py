"""The Slurm array script, with stand-ins for Slurm's commands and for Python."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "slurm_array.sh"
PYTHON = """
echo "python $*" >> calls
trap 'echo saved >> calls; exit 75' TERM
echo $$ > python.pid
if [ -e long ]; then while true; do sleep 0.02; done; fi
exit $(cat code 2>/dev/null || echo 0)
"""


@pytest.fixture
def task(tmp_path):
    """Starts the script as a task of an array of four, in a folder with stand-ins."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, body in {"python": PYTHON, "scontrol": 'echo "scontrol $*" >> calls'}.items():
        (binaries / name).write_text(f"#!/bin/bash\n{body}\n")
        (binaries / name).chmod(0o755)

    def start(number: int, *arguments: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "SLURM_ARRAY_JOB_ID": "77",
            "SLURM_ARRAY_TASK_ID": str(number),
            "SLURM_ARRAY_TASK_MAX": "3",
        }
        return subprocess.Popen(["bash", str(SCRIPT), *arguments], cwd=tmp_path, env=environment)

    return start


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_a_task_trains_the_seed_of_its_number_with_a_table_of_its_own(task, tmp_path):
    (tmp_path / "code").write_text("2")
    assert task(3, "--config", "a file.yml", "--methods", "KD", "TRG").wait(timeout=60) == 2
    assert calls(tmp_path) == [
        "python experiments/run.py --config a file.yml --methods KD TRG --seeds 3 --table runs/array-77/seed3.md "
        "--device cuda --resume"
    ]


def test_a_task_of_a_sweep_runs_the_trial_of_its_number(task, tmp_path):
    assert task(2, "experiments/sweeps/trg.yaml", "--train.epochs", "30").wait(timeout=60) == 0
    assert calls(tmp_path) == [
        "python experiments/sweep.py experiments/sweeps/trg.yaml --train.epochs 30 --count 4 --trial 2 --device cuda "
        "--resume"
    ]


def test_a_task_whose_time_ends_saves_its_training_and_is_queued_again(task, tmp_path):
    (tmp_path / "long").touch()
    process = task(1, "--methods", "KD")
    deadline = time.monotonic() + 60
    while not (tmp_path / "python.pid").exists() or not (tmp_path / "python.pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75
    assert calls(tmp_path)[1:] == ["saved", "scontrol requeue 77_1"]
