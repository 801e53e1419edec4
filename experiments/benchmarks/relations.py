"""Cost of TRG's graphs and losses over the matrix products that they need, in one run.

    python experiments/benchmarks/relations.py --tokens "[1024,4096,16384]"

A loss is measured forward and backward with the graphs that it needs, as TRG computes it when the other weights are 0.
Of the products of a floor that are made in chunks, the first few chunks are timed and scaled up.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from experiments.benchmarks._measure import Work, in_turn, ms, peak_mib, ratio, show
from trg_pyg.distillers.trg import TRG
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.models.taps import FeatureInfo, NetworkInfo

_PER_IMAGE = 16
_CHUNK_BYTES = 64 << 20
_SAMPLED_CHUNKS = 4
_DENSE_BYTES = 2 << 30
PARTS = ("image graph", "batch graph", "L_inner", "L_local", "L_global", "L_graph", "graph + all losses")


@dataclass(frozen=True)
class Row:
    """One part of TRG at one size."""

    tokens: int
    part: str
    ms: float
    products_ms: float
    over_products: float
    dense_ms: float | None
    peak_mib: float | None


def measure(
    tokens: tuple[int, ...] = (1024, 4096),
    width: int = 256,
    projection: int = 128,
    k: int = 8,
    parts: tuple[str, ...] = PARTS,
    repeats: int = 5,
    device: str = "cpu",
) -> list[Row]:
    """Return milliseconds of each part, of the products that it needs, and its peak memory above the inputs.

    Args:
        tokens: numbers of tokens M, 16 an image, up to 65536 make sense.
        width: width D of the tokens of both networks.
        projection: width of the projections.
        k: neighbours K.
        parts: of TRG; all by default.
        repeats: counted calls of each, after one that is not (none above 16384 tokens).
        device: cpu or cuda; memory is measured on the CPU.
    """
    rows = []
    for number in tokens:
        for part in parts:
            works = {"part": prepare(part, number, width, projection, k, device)}
            if number**2 * 4 * 3 <= _DENSE_BYTES and part in ("batch graph", "L_global"):
                works["dense"] = _dense(part, number, width, projection, k, device)
            floor = _Products(part, number, width, projection, device)
            products: list[float] = []
            works["products"] = lambda floor=floor, products=products: products.append(floor())  # type: ignore[misc]
            warm_up = 0 if number > 16384 else 1
            taken = in_turn(works, repeats, warm_up=warm_up, device=device)
            products = products[warm_up:]
            rows.append(
                Row(
                    number,
                    part,
                    ms(taken["part"]),
                    ms(products),
                    ratio(taken["part"], products),
                    ms(taken["dense"]) if "dense" in taken else None,
                    peak_mib(prepare, part, number, width, projection, k, device) if device == "cpu" else None,
                )
            )
    return rows


def prepare(part: str, tokens: int, width: int, projection: int, k: int, device: str) -> Work:
    """Return a function that computes one part, forward and backward, of random tokens."""
    student, teacher = _tokens(tokens, width, device)
    if part in ("image graph", "batch graph"):
        builder = KNNGraph(k, scope="image" if part == "image graph" else "batch")
        return lambda: builder(student).edge_weight.sum().backward()
    network = NetworkInfo(10, (FeatureInfo("layer", "map", width, (4, 4)),))
    every = part == "graph + all losses"
    torch.manual_seed(0)
    distiller = TRG(
        network,
        network,
        alpha=float(every or part == "L_inner"),
        beta=float(every or part == "L_local"),
        gamma=float(every or part == "L_global"),
        delta=float(every or part == "L_graph"),
        k=k,
        projection_dim=projection,
        tokens_per_image=_PER_IMAGE,
    ).to(device)

    def work() -> None:
        losses = distiller.relations(student, teacher, 0.5).values()
        torch.stack([weight * loss for weight, loss in losses]).sum().backward()

    return work


def _tokens(tokens: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.randn(tokens // _PER_IMAGE, _PER_IMAGE, width, generator=generator).to(device) for _ in range(2)
    )
    return student.requires_grad_(), teacher


def _dense(part: str, tokens: int, width: int, projection: int, k: int, device: str) -> Work:
    """Return the same with a full matrix."""
    wide, narrow = (_tokens(tokens, size, device)[0].flatten(0, 1) for size in (width, projection))
    if part == "batch graph":
        return lambda: torch.cdist(wide, wide).topk(k + 1, largest=False).values[:, 1:].exp().sum().backward()
    target = torch.arange(tokens, device=device)
    other = narrow.detach().flip(0).requires_grad_()
    return lambda: cross_entropy(normalize(narrow) @ normalize(other).T / 0.07, target).backward()


class _Products:
    """The matrix products of a part; a call returns the seconds that all of them take."""

    def __init__(self, part: str, tokens: int, width: int, projection: int, device: str) -> None:
        images = tokens // _PER_IMAGE
        every = part == "graph + all losses"
        within = {"image graph": 1, "L_inner": 1, "L_graph": 2, "graph + all losses": 2}.get(part, 0)
        self.within = [torch.randn(images, _PER_IMAGE, width, device=device)] * within
        self.across = torch.randn(tokens, width, device=device) if part in ("batch graph", "L_local") or every else None
        sizes = ([tokens] if part == "L_global" or every else []) + ([images] if part == "L_graph" or every else [])
        self.contrasts = [torch.randn(size, projection, device=device) for size in sizes]
        self.device = device

    def __call__(self) -> float:
        seconds = 0.0
        if self.within:
            seconds += self._time(lambda: [x @ x.transpose(1, 2) for x in self.within])
        if self.across is not None:
            seconds += self._in_chunks(self.across, contrast=False)
        return seconds + sum(self._in_chunks(x, contrast=True) for x in self.contrasts)

    def _in_chunks(self, x: Tensor, contrast: bool) -> float:
        rows = max(1, _CHUNK_BYTES // (len(x) * x.element_size()))
        starts = range(0, len(x), rows)[:_SAMPLED_CHUNKS]
        block = x.new_empty(min(rows, len(x)), len(x))
        left, right = torch.empty_like(x), torch.zeros_like(x)

        def work() -> None:
            for r in starts:
                chunk = x[r : r + rows]
                logits = torch.mm(chunk, x.T, out=block[: len(chunk)])
                if contrast:
                    torch.mm(logits, x, out=left[r : r + rows])
                    right.addmm_(logits.T, chunk)

        return self._time(work) * len(x) / min(len(x), len(starts) * rows)

    def _time(self, work: Work) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


if __name__ == "__main__":
    show(measure)
