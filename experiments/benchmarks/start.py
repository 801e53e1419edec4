"""How long ``trg run`` takes to its first step and to its table, part by part.

    python experiments/benchmarks/start.py --json runs/start.json
    python experiments/benchmarks/start.py --options "--train.compile true --train.epochs 1"

Each repeat is a process of its own, whose parts are told by the clock where one ends and the next begins.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from statistics import median

from experiments.benchmarks._measure import show

_PARTS = ("imports", "configuration", "data and networks", "teacher", "to the first step", "to the table")

# In the process that is measured: the clock at the end of each part.
_CHILD = """
import json, sys, time
from pathlib import Path
ends = []
from trg_pyg.cli import run
from trg_pyg.training.learner import Learner
ends.append(time.time())
def told(name):
    work = getattr(run, name)
    def timed(*args, **options):
        found = work(*args, **options)
        ends.append(time.time())
        return found
    setattr(run, name, timed)
for name in ("read_choices", "prepare", "obtain_teacher"):
    told(name)
update = Learner.update
def stepped(self):
    update(self)
    if len(ends) == 4:  # the teacher is there, so this is the first student's first step
        ends.append(time.time())
Learner.update = stepped
code = run.main(sys.argv[2:])
ends.append(time.time())
Path(sys.argv[1]).write_text(json.dumps(ends))
sys.exit(code)
"""


@dataclass(frozen=True)
class Row:
    """A part of the start.

    Attributes:
        part: what is done: imports, with the start of Python; the configuration; data, networks and a trial of each
            method; the teacher, trained or loaded; the first step, compilation included; all others.
        seconds: of the part, median.
        since_start: seconds from the start of the process to its end, median.
    """

    part: str
    seconds: float
    since_start: float


def measure(options: str = "", repeats: int = 3, device: str = "cpu") -> list[Row]:
    """Return the parts of a run on scikit-learn's digits.

    Args:
        options: of ``trg run``; none is what ``make run`` does with one seed.
        repeats: processes.
        device: cpu or cuda.
    """
    ends = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/ends.json"
            given = ["--seeds", "0", "--device", device, "--output", f"{folder}/runs", *shlex.split(options)]
            started = time.time()
            subprocess.run([sys.executable, "-c", _CHILD, file, *given], check=True, stdout=subprocess.DEVNULL)
            with open(file) as found:
                ends.append([end - started for end in json.load(found)])
    rows = []
    for number, part in enumerate(_PARTS):
        spans = [each[number] - (each[number - 1] if number else 0.0) for each in ends]
        rows.append(Row(part, median(spans), median(each[number] for each in ends)))
    return rows


if __name__ == "__main__":
    show(measure)
