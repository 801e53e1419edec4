"""Every benchmark, one table and one plot of cost against size.

    python experiments/benchmarks/all.py --output runs/benchmarks
    python experiments/benchmarks/all.py --points "[1024,4096,16384,65536]" --tokens "[1024,4096,16384,65536]"

The plot needs matplotlib (``pip install 'trg_pyg[lab]'``).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jsonargparse import auto_cli

from experiments.benchmarks import epoch, neighbours, relations, step
from experiments.benchmarks._measure import table, where
from trg_pyg._files import write_text
from trg_pyg.data.base import ImageSet
from trg_pyg.errors import InputError

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


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
    points: list[int],
    tokens: list[int],
    pairs: list[str],
    methods: list[str],
    *,
    steps: int,
    images: int,
    repeats: int,
    device: str,
) -> list[Row]:
    """Return the rows of all benchmarks; see :func:`main`."""
    networks = {pair: _networks(pair) for pair in pairs}
    rows = [
        Row("neighbours", row.method, str(row.points), row.ms, row.over_product, note=row.note)
        for row in neighbours.measure(points, repeats=repeats, device=device)
    ]
    rows += [
        Row(
            "relations",
            row.part,
            str(row.tokens),
            row.ms,
            row.over_products,
            None if row.dense_ms is None else row.dense_ms / row.ms,
            row.peak_mib,
        )
        for row in relations.measure(tokens, repeats=repeats, device=device)
    ]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    train = ImageSet(pixels, torch.arange(images) % 100)
    for pair, (teacher, student) in networks.items():
        rows += [
            Row("step", f"{row.method}, {row.networks}", pair, row.ms, row.over_floor, row.speedup)
            for row in step.measure(methods, teacher=teacher, student=student, steps=steps, lowered=True, device=device)
        ]
        rows += [
            Row("epoch", row.side, pair, 1000 * row.seconds_an_epoch, times_as_fast=row.times_as_fast)
            for row in epoch.measure(
                train, MEAN, STD, 100, teacher=teacher, student=student, chunk=5, lowered=True, device=device
            )
        ]
    return rows


def _networks(pair: str) -> tuple[str, str]:
    teacher, arrow, student = pair.partition("-")
    if not arrow:
        raise InputError(f"pairs: {pair} is no pair; write teacher-student, such as resnet56-resnet20")
    return teacher, student


def plot(rows: list[Row], file: Path) -> None:
    """Draw milliseconds against the number of points or tokens, on logarithmic axes, and save the picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("the plot needs matplotlib: pip install 'trg_pyg[lab]'") from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, benchmark in zip(figure.subplots(1, 2), ("neighbours", "relations"), strict=True):
        mine = [row for row in rows if row.benchmark == benchmark and row.ms is not None]
        for what in dict.fromkeys(row.what for row in mine):
            line = [(int(row.size), row.ms) for row in mine if row.what == what]
            floor = what == "product"
            axes.plot(*zip(*line, strict=True), marker="o", label=what, linestyle="--" if floor else "-")
        axes.set(xscale="log", yscale="log", title=benchmark, ylabel="milliseconds")
        axes.set_xlabel("points" if benchmark == "neighbours" else "tokens")
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def main(
    points: list[int] | None = None,
    tokens: list[int] | None = None,
    pairs: list[str] | None = None,
    methods: list[str] | None = None,
    steps: int = 20,
    images: int = 5_184,
    repeats: int = 5,
    device: str = "cpu",
    output: Path = Path("runs/benchmarks"),
) -> None:
    """Print one table, and write it with a plot of cost against size.

    Args:
        points: sizes of the neighbour search; 1024, 4096 and 16384 if none is given.
        tokens: sizes of the graphs and losses; the same if none is given.
        pairs: networks of the steps and the epoch, as teacher-student; resnet56-resnet20 if none is given.
        methods: distillers of the steps, by class name; KD and TRG if none is named.
        steps: counted steps of each.
        images: of the epoch.
        repeats: counted calls of searches and losses.
        device: cpu or cuda.
        output: folder of table.md and cost.png.
    """
    rows = measure(
        points or [1024, 4096, 16384],
        tokens or [1024, 4096, 16384],
        pairs or ["resnet56-resnet20"],
        methods or ["KD", "TRG"],
        steps=steps,
        images=images,
        repeats=repeats,
        device=device,
    )
    text = f"{where(device)}, PyTorch {torch.__version__}\n\n{table(rows)}\n"
    print(text)
    write_text(output / "table.md", text)
    plot(rows, output / "cost.png")


if __name__ == "__main__":
    auto_cli(main)
