"""What compilation makes of the losses of every relational method, in one run.

    python experiments/benchmarks/losses.py --cpu_time true

A method's loss, forward and backward, is computed of random outputs of two networks: as it is, and with its ``compare``
compiled as one graph (``fullgraph``), in turn.
"""

import copy
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

import trg_pyg.distillers
from experiments.benchmarks._measure import Work, in_turn, ms, ratio, show
from trg_pyg.distillers.base import Distiller
from trg_pyg.models.taps import NetworkInfo, Outputs, TappedModel
from trg_pyg.models.zoo import build_model
from trg_pyg.step import Step

METHODS = ("TRG", "TRGPaper", "RKD", "IRG", "LSP", "HKD", "SP", "PKT", "CC", "DIST", "ICKD", "RRD", "ManifoldKD")


@dataclass(frozen=True)
class Row:
    """A method's loss.

    Attributes:
        method: class name.
        ms: median milliseconds as it is.
        compiled_ms: the same, compiled.
        compiled_over_eager: ratio of neighbouring calls.
        seconds_to_compile: first call.
        largest_difference: of the gradient of the student's outputs, over its largest entry.
    """

    method: str
    ms: float
    compiled_ms: float
    compiled_over_eager: float
    seconds_to_compile: float
    largest_difference: float


def measure(
    methods: tuple[str, ...] = METHODS,
    teacher: str = "resnet56",
    student: str = "resnet20",
    batch_size: int = 64,
    repeats: int = 20,
    num_classes: int = 100,
    train_images: int = 50_000,
    device: str = "cpu",
    cpu_time: bool = False,
    backend: str = "inductor",
) -> list[Row]:
    """Return milliseconds of each method's loss, forward and backward, as it is and compiled.

    Args:
        methods: distillers by class name.
        teacher: network of the zoo.
        student: network of the zoo.
        batch_size: images of 32x32 a step.
        repeats: counted calls of each, after 3 that are not.
        num_classes: classes.
        train_images: size of the training set, for memory banks.
        device: cpu or cuda.
        cpu_time: count seconds of the processor, not of the clock, on a CPU that has other work too.
        backend: of torch.compile.
    """
    rows = []
    for name in methods:
        torch._dynamo.reset()
        method: type[Distiller] = getattr(trg_pyg.distillers, name)
        taps: Any = [] if method.taps == "none" else method.taps
        infos = [TappedModel(build_model(each, num_classes), taps).describe(32) for each in (student, teacher)]
        torch.manual_seed(0)
        plain = method(*infos)
        plain.bind(torch.arange(train_images) % num_classes, torch.Generator().manual_seed(0))
        plain.to(device).eval()  # memory banks stay as they are
        compiled = copy.deepcopy(plain)
        parts: list[Any] = [part for part in compiled.modules() if hasattr(part, "compare")]
        for part in parts:
            vars(part)["compare"] = torch.compile(part.compare, fullgraph=True, backend=backend)
        given = [_outputs(info, batch_size, device, seed) for seed, info in enumerate(infos)]
        index = torch.arange(batch_size, device=device)

        def gradient(distiller: Distiller, given: list[Outputs] = given, index: Tensor = index) -> list[Tensor]:
            ours = given[0]
            leaves = [each for each in (ours.logits, *ours.features, ours.embedding) if each is not None]
            step = Step(index % num_classes, 0.5, torch.Generator().manual_seed(0), index)
            total = distiller(*given, step).total
            return [each for each in torch.autograd.grad(total, leaves, allow_unused=True) if each is not None]

        expected, started = gradient(plain), time.perf_counter()
        found = gradient(compiled)
        seconds = time.perf_counter() - started
        works: dict[str, Work] = {"plain": partial(gradient, plain), "compiled": partial(gradient, compiled)}
        clock = time.process_time if cpu_time else time.perf_counter
        taken = in_turn(works, repeats, warm_up=3, device=device, clock=clock)
        pairs = zip(expected, found, strict=True)
        difference = max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs)
        times = taken["plain"], taken["compiled"]
        rows.append(Row(name, ms(times[0]), ms(times[1]), ratio(times[1], times[0]), seconds, difference))
    return rows


def _outputs(info: NetworkInfo, images: int, device: str, seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(images, *shape, generator=generator).to(device).requires_grad_()

    features = tuple(draw(*feature.shape) for feature in info.features)
    return Outputs(draw(info.num_classes), features, draw(info.embedding or 1))


if __name__ == "__main__":
    show(measure)
