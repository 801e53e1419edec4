"""Cost of exact nearest neighbours over the matrix product that they need, beside other libraries, in one run.

    python experiments/benchmarks/neighbours.py --points "[1024,4096,16384]"

The floor is the product of all points with all points, made in blocks of the fastest size and thrown away. What is not
installed is left out with a note: faiss (package faiss-cpu) and torch-cluster.
"""

import importlib
import importlib.util
import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.benchmarks._measure import Work, in_turn, ms, ratio, show
from trg_pyg.graphs.neighbours import nearest_neighbours

_CHUNK_BYTES = 64 << 20
_CPU_BLOCK = 1024
_DENSE_BYTES = 2 << 30


@dataclass(frozen=True)
class Row:
    """One way to find neighbours at one size."""

    points: int
    method: str
    ms: float | None = None
    over_product: float | None = None
    note: str = ""


def measure(
    points: tuple[int, ...] = (1024, 4096, 16384),
    width: int = 256,
    k: int = 8,
    repeats: int = 5,
    device: str = "cpu",
    sets: int = 1,
    cpu_time: bool = False,
) -> list[Row]:
    """Return milliseconds of each way to find neighbours at each number of points, and their ratio to the product.

    Args:
        points: numbers of points M, up to 65536 make sense.
        width: width D of a point.
        k: neighbours K.
        repeats: counted calls of each, after one that is not.
        device: cpu or cuda.
        sets: number of sets of points, within each of which neighbours are searched; other libraries take one by one.
        cpu_time: count seconds of the processor, not of the clock, on a CPU that has other work too.
    """
    rows = []
    for number in points:
        x = torch.randn(sets, number, width, generator=torch.Generator().manual_seed(0)).to(device)
        works, notes = _methods(x, k)
        taken = in_turn(works, repeats, device=device, clock=time.process_time if cpu_time else time.perf_counter)
        for name, seconds in taken.items():
            rows.append(Row(number, name, ms(seconds), ratio(seconds, taken["product"])))
        rows += [Row(number, name, note=note) for name, note in notes.items()]
    return rows


def _methods(x: Tensor, k: int) -> tuple[dict[str, Work], dict[str, str]]:
    """Return what can be run, and why the others cannot."""
    works: dict[str, Work] = {
        "product": lambda: product(x[0]) if len(x) == 1 else x @ x.transpose(1, 2),
        "trg_pyg": lambda: nearest_neighbours(x, k),
    }
    notes: dict[str, str] = {}
    if x.shape[0] * x.shape[1] ** 2 * x.element_size() <= _DENSE_BYTES:
        works["cdist + topk"] = lambda: torch.cdist(x, x).topk(k + 1, largest=False)
    else:
        notes["cdist + topk"] = "does not fit"
    if x.device.type == "cpu" and importlib.util.find_spec("faiss"):
        works["faiss"] = _faiss(x, k)
    else:
        notes["faiss"] = "not installed" if x.device.type == "cpu" else "on the CPU only"
    if importlib.util.find_spec("torch_cluster"):
        number = torch.arange(len(x), device=x.device).repeat_interleave(x.shape[1])
        works["torch-cluster"] = partial(importlib.import_module("torch_cluster").knn_graph, x.flatten(0, 1), k, number)
    else:
        notes["torch-cluster"] = "not installed"
    return works, notes


def product(x: Tensor) -> None:
    """Make all dot products of points ``[M, D]``, block by block in one place, and nothing else.

    Blocks are those that the device multiplies fastest: such as stay in a processor's cache, large ones on a GPU.
    """
    on_cpu = x.device.type == "cpu"
    columns = min(_CPU_BLOCK, len(x)) if on_cpu else len(x)
    rows = columns if on_cpu else min(len(x), max(1, _CHUNK_BYTES // (len(x) * x.element_size())))
    block = x.new_empty(rows, columns)
    for some in x.split(rows):
        for others in x.split(columns):
            torch.mm(some, others.T, out=block[: len(some), : len(others)])


def _faiss(x: Tensor, k: int) -> Work:
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(torch.get_num_threads())

    def search() -> None:
        for points in x.numpy():
            index = faiss.IndexFlatL2(points.shape[1])
            index.add(points)
            index.search(points, k + 1)

    return search


if __name__ == "__main__":
    show(measure)
