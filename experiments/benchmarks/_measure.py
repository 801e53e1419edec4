"""What the benchmarks share: functions timed in turn, peak memory in a fresh process, and a printed table."""

import dataclasses
import inspect
import json as text
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from trg_pyg._files import write_text
from trg_pyg._program import markdown_table

Work = Callable[[], Any]


def in_turn(
    works: dict[str, Work],
    repeats: int,
    *,
    warm_up: int = 1,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of each call of each function, called in turn.

    Args:
        works: the functions.
        repeats: counted calls of each.
        warm_up: calls before that.
        device: cpu or cuda; of a GPU the end of its work is waited for.
        clock: returns seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(repeats + warm_up):
        for name, work in works.items():
            started = clock()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            if number >= warm_up:
                taken[name].append(clock() - started)
    return taken


def ms(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return 1000 * statistics.median(seconds)


def ratio(taken: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of the ratios of neighbouring calls: a machine that slows down slows both sides of a ratio."""
    return statistics.median(a / b for a, b in zip(taken, base, strict=True))


def peak_mib(prepare: Callable[..., Work], *args: Any) -> float:
    """Return the most memory, in MiB above the inputs, that a call of ``prepare(*args)()`` holds at a time.

    It is the resident memory of a fresh process (Linux). ``prepare`` is a function of a module, and makes the inputs.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(sender, torch.get_num_threads(), prepare, args))
    process.start()
    sender.close()
    try:
        peak: float = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the process that measures memory ended with exit code {process.exitcode}") from None
    process.join()
    return peak


def _report_peak(sender: Connection, threads: int, prepare: Callable[..., Work], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    work = prepare(*args)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status("VmRSS")
    work()
    sender.send((_status("VmHWM") - before) / 1024)


def _status(field: str) -> int:
    """Return a field of this process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def show(measure: Callable[..., Sequence[Any]], args: list[str] | None = None) -> None:
    """Measure with the options of the command line and print what was given and the rows.

    Args:
        measure: a benchmark, whose docstring is the help; it returns dataclass rows and has an option ``device``.
        args: of the command line; ``None`` for those of this process.
    """

    def main(json: Path | None = None, **options: Any) -> None:
        rows = measure(**options)
        if json is not None:
            write_text(json, text.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
        plain = {name: value for name, value in options.items() if isinstance(value, str | float | tuple | int)}
        given = ", ".join(f"{name} {value}" for name, value in plain.items() if name != "device")
        print(f"{given}; {where(options['device'])}\n\n{table(rows)}")

    own = inspect.signature(measure).parameters.values()
    json = inspect.signature(main).parameters["json"].replace(kind=inspect.Parameter.KEYWORD_ONLY)
    main.__signature__ = inspect.Signature([*own, json])  # type: ignore[attr-defined]
    main.__doc__ = f"{inspect.getdoc(measure)}\n    json: file for the rows."
    auto_cli(main, args=args)


def table(rows: Sequence[Any]) -> str:
    """Return dataclass rows as a Markdown table, a field a column; what is not known stays empty."""
    names = [field.name for field in dataclasses.fields(rows[0])]
    cells = [[_cell(getattr(row, name)) for name in names] for row in rows]
    return markdown_table([[name.replace("_", " ") for name in names], *cells])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"


def where(device: str) -> str:
    """Name what a benchmark runs on."""
    return torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads"
