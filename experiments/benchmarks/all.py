"""Every benchmark, one table and one plot of cost against size.

    python experiments/benchmarks/all.py --output runs/benchmarks
    python experiments/benchmarks/all.py --points "[1024,4096,16384,65536]" --tokens "[1024,4096,16384,65536]"

The plot needs matplotlib (``pip install -e ".[lab]"``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from experiments.benchmarks import epoch, neighbours, relations, step
from experiments.benchmarks._measure import table, where
from trg_pyg._files import write_text
from trg_pyg.errors import InputError


@dataclass(frozen=True)
class Row:
    """One measurement of any benchmark.

    Attributes:
        benchmark: which.
        what: is measured.
        size: what it grows with, or the pair of networks.
        ms: median milliseconds; of an epoch, of 50,000 images.
        over_floor: its time over that of what cannot be avoided: the matrix products, or the teacher's forward pass
            with a step of the student.
        times_as_fast: as its reference: a full matrix, plain networks, or the loop of public repositories.
        peak_mib: most memory above the inputs.
        note: why there is no figure.
    """

    benchmark: str
    what: str
    size: str
    ms: float | None = None
    over_floor: float | None = None
    times_as_fast: float | None = None
    peak_mib: float | None = None
    note: str = ""


def measure(
    points: tuple[int, ...],
    tokens: tuple[int, ...],
    pairs: tuple[str, ...],
    methods: tuple[str, ...],
    steps: int,
    images: int,
    repeats: int,
    device: str,
) -> list[Row]:
    """Return the rows of all benchmarks; see :func:`main`."""
    networks = {pair: _networks(pair) for pair in pairs}
    rows = []
    for found in neighbours.measure(points, repeats=repeats, device=device):
        rows.append(Row("neighbours", found.method, str(found.points), found.ms, found.over_product, note=found.note))
    for part in relations.measure(tokens, repeats=repeats, device=device):
        fast = None if part.dense_ms is None else part.dense_ms / part.ms
        rows.append(Row("relations", part.part, str(part.tokens), part.ms, part.over_products, fast, part.peak_mib))
    for pair, options in networks.items():
        for one in step.measure(methods, **options, steps=steps, lowered=True, device=device):
            rows.append(Row("step", f"{one.method}, {one.networks}", pair, one.ms, one.over_floor, one.speedup))
        for side in epoch.measure(images, **options, chunk=5, device=device):
            rows.append(Row("epoch", side.side, pair, 1000 * side.seconds_an_epoch, None, side.times_as_fast))
    return rows


def _networks(pair: str) -> dict[str, Any]:
    teacher, arrow, student = pair.partition("-")
    if not arrow:
        raise InputError(f"pairs: {pair} is no pair; write teacher-student, such as resnet56-resnet20")
    return {"teacher": teacher, "student": student}


def plot(rows: list[Row], file: Path) -> None:
    """Draw milliseconds against the number of points or tokens, on logarithmic axes, and save the picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('the plot needs matplotlib: pip install -e ".[lab]"') from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, benchmark, size in zip(
        figure.subplots(1, 2), ("neighbours", "relations"), ("points", "tokens"), strict=True
    ):
        mine = [row for row in rows if row.benchmark == benchmark and row.ms is not None]
        for what in dict.fromkeys(row.what for row in mine):
            line = [(int(row.size), row.ms) for row in mine if row.what == what]
            axes.plot(*zip(*line, strict=True), marker="o", label=what, linestyle="--" if what == "product" else "-")
        axes.set(yscale="log", title=benchmark, xlabel=size, ylabel="milliseconds")
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def main(
    points: tuple[int, ...] = (1024, 4096, 16384),
    tokens: tuple[int, ...] = (1024, 4096, 16384),
    pairs: tuple[str, ...] = ("resnet56-resnet20",),
    methods: tuple[str, ...] = ("KD", "TRG"),
    steps: int = 20,
    images: int = 5_184,
    repeats: int = 5,
    device: str = "cpu",
    output: Path = Path("runs/benchmarks"),
) -> None:
    """Print one table, and write it with a plot of cost against size.

    Args:
        points: sizes of the neighbour search.
        tokens: sizes of the graphs and losses.
        pairs: networks of the steps and the epoch, as teacher-student.
        methods: distillers of the steps, by class name.
        steps: counted steps of each.
        images: of the epoch.
        repeats: counted calls of searches and losses.
        device: cpu or cuda.
        output: folder of table.md and cost.png.
    """
    rows = measure(points, tokens, pairs, methods, steps, images, repeats, device)
    text = f"{where(device)}, PyTorch {torch.__version__}\n\n{table(rows)}\n"
    print(text)
    write_text(output / "table.md", text)
    plot(rows, output / "cost.png")


if __name__ == "__main__":
    auto_cli(main)
