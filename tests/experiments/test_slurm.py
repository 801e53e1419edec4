"""The Slurm script, with stand-ins for Slurm's commands and for torchrun."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "slurm.sh"

COMMANDS = {
    "scontrol": 'echo "scontrol $*" >> calls; [ "$1" = show ] && { echo node1; seq -f "node%.0f" 2 20000; } || true',
    # Signals every step of a job, as Slurm does: here the one process that wrote its number.
    "scancel": 'echo "scancel $*" >> calls; kill -TERM "$(cat torchrun.pid)"',
    "srun": 'exec "$@"',
}
TORCHRUN = """
echo "torchrun $*" >> calls
trap 'echo saved >> calls; exit 1' TERM
echo $$ > torchrun.pid
if [ -e long ]; then while true; do sleep 0.02; done; fi
exit 3
"""


@pytest.fixture
def job(tmp_path):
    """Starts the script as a job in a folder with stand-ins."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, body in {**COMMANDS, "torchrun": TORCHRUN}.items():
        (binaries / name).write_text(f"#!/bin/bash\n{body}\n")
        (binaries / name).chmod(0o755)
    (tmp_path / "calls").touch()

    def job(*arguments: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_NNODES": "2",
            "SLURM_GPUS_ON_NODE": "4",
        }
        return subprocess.Popen(["bash", str(SCRIPT), *arguments], cwd=tmp_path, env=environment)

    return job


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_a_job_starts_one_torchrun_a_machine_and_ends_with_its_exit_code(job, tmp_path):
    assert job("--seeds", "0").wait(timeout=60) == 3
    assert calls(tmp_path) == [
        "scontrol show hostnames node[1-2]",
        "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-id 77 --rdzv-backend c10d --rdzv-endpoint node1:29500 "
        "experiments/run.py --device cuda --resume --seeds 0",
    ]


def test_a_job_whose_time_ends_saves_its_training_and_is_queued_again(job, tmp_path):
    (tmp_path / "long").touch()
    process = job()
    deadline = time.monotonic() + 60
    while not (tmp_path / "torchrun.pid").exists() or not (tmp_path / "torchrun.pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) != 0
    assert calls(tmp_path)[-3:] == ["scancel --signal=TERM 77", "saved", "scontrol requeue 77"]
