"""What a method's losses cost on several processes, CPU time of all together, over one process on the same batch.

    python experiments/benchmarks/shares.py --json runs/shares.json

Losses of made-up maps, 256 wide as those of resnet8x4 and resnet32x4, forward and backward, without the networks. By
rows, each process computes those of its own images; ``whole`` is what methods do that cannot be cut: each process
computes the losses of all images. ``sent`` is what the processes send one another by rows, with nothing computed: the
floor is 1 plus this. A process has one thread. All take turns in one run, and ratios are medians of the turns.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import cast

import torch
from torch import Tensor, distributed, nn

import trg_pyg.distillers
from experiments.benchmarks._measure import Work, ms, ratio, show
from experiments.benchmarks.allocation import keep_freed_memory
from trg_pyg.distillers.base import Distiller
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs, TappedModel
from trg_pyg.step import Step
from trg_pyg.training.distributed import World
from trg_pyg.training.modules import DistillationModule

_PER_IMAGE, _WIDTH, _GRID, _CLASSES = 16, 256, (8, 8), 100


@dataclass(frozen=True)
class Row:
    """Losses of a batch on a number of processes.

    Attributes:
        processes: that share it.
        way: how: by rows, whole or sent.
        ms: CPU time of all processes, median milliseconds.
        over_one: over that of one process.
    """

    processes: int
    way: str
    ms: float
    over_one: float


_WAYS = ("rows", "whole", "sent")


@dataclass(frozen=True)
class _Noting(World):
    """A world that notes what is gathered: each share, the rows of all of them, and whether all compute alike."""

    seen: list[tuple[Tensor, Sequence[int], bool]] = field(default_factory=list)

    def gather(self, tensor: Tensor, sizes: Sequence[int], *, alike: bool = True) -> Tensor:
        """Gather, as the world does."""
        self.seen.append((tensor.detach().requires_grad_(tensor.requires_grad), sizes, alike))
        return super().gather(tensor, sizes, alike=alike)


class _Maps(nn.Module):
    """In place of a network: maps and logits that learn."""

    def __init__(self, images: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.map = nn.Parameter(torch.randn(images, _WIDTH, *_GRID, generator=generator))
        self.logits = nn.Parameter(torch.randn(images, _CLASSES, generator=generator))

    def forward(self, images: Tensor | None) -> Outputs:
        """Return the same for any images."""
        return Outputs(self.logits, (self.map,))


def measure(
    tokens: int = 4096,
    processes: tuple[int, ...] = (2, 4),
    method: str = "TRG",
    repeats: int = 3,
    rounds: int = 7,
    device: str = "cpu",
) -> list[Row]:
    """Return a row for each number of processes and way.

    Args:
        tokens: of a batch, 16 an image.
        processes: numbers of them, beside one.
        method: whose losses; one with ``by_rows``.
        repeats: calls in a turn.
        rounds: turns that count, after one that does not.
        device: cpu.
    """
    ways = [(1, "rows"), *((size, way) for size in processes for way in _WAYS)]
    with ExitStack() as stack:
        crews = {size: stack.enter_context(_crew(method, size, tokens // _PER_IMAGE)) for size in (1, *processes)}

        def turn(size: int, way: str) -> float:
            for member in crews[size]:
                member.send((way, repeats))
            return sum(member.recv() for member in crews[size]) / repeats

        rounds_of = [{each: turn(*each) for each in ways} for _ in range(rounds + 1)][1:]
    taken = {each: [seconds[each] for seconds in rounds_of] for each in ways}
    return [Row(*each, ms(seconds), ratio(seconds, taken[ways[0]])) for each, seconds in taken.items()]


@contextmanager
def _crew(method: str, size: int, images: int) -> Iterator[list[Connection]]:
    """Start processes that share a batch, and wait where it is not their turn."""
    context = multiprocessing.get_context("forkserver")  # which makes the slow imports once
    context.set_forkserver_preload(["experiments.benchmarks._measure", "trg_pyg.training.modules"])
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe() for _ in range(size)]
        crew = [
            context.Process(target=_work, args=(method, rank, size, images, folder, pipe[1]), daemon=True)
            for rank, pipe in enumerate(pipes)
        ]
        for member, pipe in zip(crew, pipes, strict=True):
            member.start()
            pipe[1].close()
        yield [pipe[0] for pipe in pipes]
        for pipe in pipes:
            pipe[0].close()
        for member in crew:
            member.join()


def _work(method: str, rank: int, size: int, images: int, folder: str, orders: Connection) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    distributed.init_process_group("gloo", f"file://{folder}/meeting", world_size=size, rank=rank)
    world = World.current()
    works = {way: prepare(method, way, images, world) for way in _WAYS}
    with suppress(EOFError):
        while True:
            way, repeats = orders.recv()
            world.barrier()
            started = time.process_time()
            for _ in range(repeats):
                works[way]()
            orders.send(time.process_time() - started)
    distributed.destroy_process_group()


def prepare(method: str, way: str, images: int, world: World) -> Work:
    """Return a function that computes the losses of this process's share, forward and backward, or sends as much."""
    if way == "sent":
        noting = _Noting(world.rank, world.size)
        prepare(method, "rows", images, noting)()

        def send() -> None:
            for share, sizes, alike in noting.seen:
                gathered = world.gather(share, sizes, alike=alike)
                if share.requires_grad:
                    gathered.backward(gathered.detach())

        return send
    own = world.part(images)[world.rank]
    network = NetworkInfo(_CLASSES, (FeatureInfo("layer", "map", _WIDTH, _GRID),))
    torch.manual_seed(0)
    cls: type[Distiller] = getattr(trg_pyg.distillers, method)
    # A subclass does not inherit that its rows can be shared out.
    distiller = (cls if way == "rows" else type("Whole", (cls,), {}))(network, network)
    student, teacher = _Maps(own, world.rank), _Maps(own, world.size + world.rank)(None)
    module = DistillationModule(cast(TappedModel, student), distiller, world=world)
    step = Step(torch.arange(own) % _CLASSES, 0.5, torch.Generator().manual_seed(0))
    nothing = torch.empty(own)

    def work() -> None:
        losses, _ = module(nothing, teacher, step, images)
        losses.total.backward()

    return work


if __name__ == "__main__":
    show(measure)
