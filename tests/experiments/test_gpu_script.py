"""The script for a GPU that is lent for minutes, with a stand-in for Python."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "gpu.sh"
# Ends as the training does that is told in the file "codes", one line a call.
PYTHON = """#!/bin/bash
echo "$*" >> "$CALLS"
case "$*" in
*run.py*)
    code=$(head -n 1 "$CODES"); sed -i 1d "$CODES"
    if [ "$code" = long ]; then trap 'exit 75' TERM; while true; do sleep 0.02; done; fi
    exit "$code" ;;
*all.py*) exit 1 ;;
esac
"""
pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("timeout") is None, reason="no bash, or no timeout of coreutils"
)


@pytest.fixture
def start(tmp_path):
    """Calls the script of a copy of the project with the stand-in, and returns how it ended and what was called."""
    project = tmp_path / "project"
    for folder in ("experiments", ".venv/bin"):
        (project / folder).mkdir(parents=True)
    shutil.copy(SCRIPT, project / "experiments")
    python = project / ".venv" / "bin" / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    files = {name.upper(): str(tmp_path / name) for name in ("calls", "codes")}

    def start(*arguments: str, codes: str = "0") -> tuple[int, str, list[str]]:
        Path(files["CODES"]).write_text(codes + "\n")
        Path(files["CALLS"]).write_text("")
        command = ["bash", str(project / "experiments" / "gpu.sh"), *arguments]
        ended = subprocess.run(command, env=os.environ | files, capture_output=True, text=True, timeout=60, check=False)
        calls = [call for call in Path(files["CALLS"]).read_text().splitlines() if not call.startswith("- ")]
        return ended.returncode, ended.stdout + ended.stderr, calls

    return start


def test_tests_and_benchmarks_come_first_and_once_and_the_training_goes_on(start, tmp_path):
    results = str(tmp_path / "results")
    code, told, calls = start(results, codes="75")
    assert code == 75
    assert "the time of this call is over; the same command goes on" in told
    assert "gpu.sh: benchmarks ended with 1" in told  # and what comes after is done
    assert [call.split()[0] for call in calls] == ["-m", "experiments/benchmarks/all.py", "experiments/run.py"]
    assert calls[-1].endswith(f"--device cuda --output {results} --table {results}/table.md --resume")
    code, _, calls = start(results, codes="0")
    assert (code, [call.split()[0] for call in calls]) == (0, ["experiments/benchmarks/all.py", "experiments/run.py"])


def test_a_training_is_told_to_save_when_the_time_is_over(start, tmp_path):
    code, told, _ = start(str(tmp_path / "results"), "--device", "cpu", "--minutes", "0.02", codes="long")
    assert code == 75
    assert "goes on" in told


def test_parts_of_an_archive_are_put_together_and_options_are_handed_on(start, tmp_path):
    (tmp_path / "images" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "train" / "cat" / "0.png").write_bytes(bytes(range(256)) * 40)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(tmp_path / "images", "images")
    whole = (tmp_path / "all.tar").read_bytes()
    parts = [tmp_path / name for name in ("a", "b")]
    for part, data in zip(parts, (whole[:6000], whole[6000:]), strict=True):
        part.write_bytes(data)
    results = tmp_path / "results"
    data = ["--data", *map(str, parts), "--device", "cpu"]
    code, _, (call,) = start(str(results), *data, "--", "--train.epochs", "2")
    assert code == 0
    assert f"--data ImageFolder --data.root {results}/data/images --device cpu" in call
    assert call.endswith("--train.epochs 2")
    assert (results / "data/images/train/cat/0.png").stat().st_size == 256 * 40


def test_an_option_that_it_does_not_know_is_refused(start, tmp_path):
    code, told, calls = start(str(tmp_path / "results"), "--minute", "3")
    assert (code, calls) == (2, [])
    assert "unknown option --minute" in told
