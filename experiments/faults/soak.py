"""Long trainings, and the memory that they take meanwhile."""

import json
import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.faults.process import Training, start
from experiments.faults.recipe import RECIPES, arguments
from trg_pyg._files import write_text
from trg_pyg._program import markdown_table
from trg_pyg.cli._exit import STOPPED
from trg_pyg.errors import require
from trg_pyg.study.folder import RunFolder

# Resident memory may grow by so much from the end of the warm-up to the end. The metrics of all epochs, which are kept,
# take about 2 MiB an hour here; one leaked tensor a step would take more than 100.
BOUND_MIB = 16.0
# Share of the time in which allocators find their size.
WARM_UP = 0.2
# Samples of which the median stands for a moment.
_WINDOW = 0.1
_PERIOD_SECONDS = 1.0


@dataclass(frozen=True)
class Soak:
    """What memory a training took.

    Attributes:
        recipe: of it.
        minutes: that it trained.
        epochs: that it finished.
        mib: resident memory at the end.
        growth: MiB from the end of the warm-up to the end, medians of several samples.
        slope: MiB an hour after the warm-up, the median of all pairs of samples (Theil and Sen).
        exit_code: of its end, which is asked for by SIGTERM.
    """

    recipe: str
    minutes: float
    epochs: int
    mib: float
    growth: float
    slope: float
    exit_code: int | None

    @property
    def is_flat(self) -> bool:
        """Whether it took no more than the bound, and ended as it was asked to."""
        return self.growth <= BOUND_MIB and self.exit_code == STOPPED


@dataclass(frozen=True)
class SoakReport:
    """What memory all trainings took."""

    soaks: Sequence[Soak]

    @property
    def is_flat(self) -> bool:
        """Whether all took no more than the bound."""
        return all(each.is_flat for each in self.soaks)

    def __str__(self) -> str:
        growth = f"growth MiB (at most {BOUND_MIB:g})"
        rows = [["method", "minutes", "epochs", "MiB at the end", growth, "MiB an hour", "flat"]]
        for each in self.soaks:
            figures = (f"{each.minutes:.1f}", str(each.epochs), f"{each.mib:.1f}", f"{each.growth:.2f}")
            flat = "yes" if each.is_flat else f"no, exit code {each.exit_code}"
            rows.append([each.recipe, *figures, f"{each.slope:.2f}", flat])
        return markdown_table(rows)


def soak(minutes: float, output: Path) -> SoakReport:
    """Train with every recipe, side by side, for so long, and return what memory it took.

    Samples go to ``soak.jsonl`` and the report to ``soak.md``, in ``output``. It needs Linux's ``/proc``.

    Raises:
        InputError: too short a time for a statement.
        RuntimeError: a training ended by itself.
    """
    require(minutes >= 0.5, f"--soak {minutes:g}: give half a minute or more")
    folder = output / "soak"
    with RunFolder(folder).owned():
        trainings = {recipe: _start(recipe, folder / recipe) for recipe in RECIPES}
        samples: dict[str, list[tuple[float, float]]] = {recipe: [] for recipe in RECIPES}
        started = time.monotonic()
        while (now := time.monotonic() - started) < 60 * minutes:
            for recipe, training in trainings.items():
                if training.exit_code is not None:
                    raise RuntimeError(f"{recipe} ended by itself: {training.printed()[-1000:]}")
                samples[recipe].append((now, _resident_mib(training.pid)))
            time.sleep(_PERIOD_SECONDS)
        for training in trainings.values():
            training.send(signal.SIGTERM)
        codes = {recipe: training.wait() for recipe, training in trainings.items()}
        lines = [json.dumps({"recipe": recipe, "samples": samples[recipe]}) + "\n" for recipe in RECIPES]
        write_text(output / "soak.jsonl", "".join(lines))
        report = SoakReport([summary(recipe, samples[recipe], codes[recipe], trainings[recipe]) for recipe in RECIPES])
        write_text(output / "soak.md", f"{report}\n")
    return report


def summary(
    recipe: str, samples: Sequence[tuple[float, float]], exit_code: int | None, training: Training | None = None
) -> Soak:
    """Return what samples of ``(seconds, MiB)`` say."""
    end = samples[-1][0]
    warm = [sample for sample in samples if sample[0] >= WARM_UP * end]
    window = max(1, round(_WINDOW * len(warm)))
    values = [mib for _, mib in warm]
    last = statistics.median(values[-window:])
    growth = last - statistics.median(values[:window])
    # A few hundred samples give pairs enough.
    few = warm[:: max(1, len(warm) // 200)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(few) for b in few[i + 1 :] if b[0] > a[0]]
    epochs = 0 if training is None else training.printed().count(f"{recipe} seed 0  epoch ")
    return Soak(recipe, end / 60, epochs, last, growth, 3600 * statistics.median(slopes) if slopes else 0.0, exit_code)


def _start(recipe: str, folder: Path) -> Training:
    # All digits, since epochs of a second would fill the memory with their metrics; and more epochs than there is time.
    longer = ["--data.imbalance=null", "--train.epochs=100000", "--train.schedule=constant"]
    return start([*arguments(recipe, folder / "runs", resume=False), *longer], folder / "printed.log")


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
