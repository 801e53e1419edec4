"""Cost of a training step of every method, in one run, step by step in turn.

    python experiments/benchmarks/step.py --methods "[KD,TRG]"

The floor is what no method can avoid: the teacher's forward pass and a step of the student on cross-entropy. Ratios
are medians of the ratios of neighbouring steps, so that a machine that slows down slows both sides of a ratio.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import torch  # noqa: E402
from jsonargparse import auto_cli  # noqa: E402
from torch import nn  # noqa: E402

import trg_pyg.distillers  # noqa: E402
from trg_pyg._discover import subclasses  # noqa: E402
from trg_pyg.distillers.base import Distiller  # noqa: E402
from trg_pyg.distillers.vanilla import Vanilla  # noqa: E402
from trg_pyg.models.taps import TappedModel  # noqa: E402
from trg_pyg.models.zoo import build_model  # noqa: E402
from trg_pyg.step import Step  # noqa: E402
from trg_pyg.training.config import TrainConfig  # noqa: E402
from trg_pyg.training.modules import DistillationModule, FrozenTeacher  # noqa: E402
from trg_pyg.training.optim import build_optimizer  # noqa: E402


def stepper(
    student: str, teacher: nn.Module, method: type[Distiller], images: torch.Tensor, num_classes: int, train_images: int
) -> Callable[[], None]:
    """Return a function that takes one training step of ``method``; the floor runs the teacher too."""
    device = images.device
    torch.manual_seed(0)
    taps: Any = [] if method.taps == "none" else method.taps
    network, tapped_teacher = TappedModel(build_model(student, num_classes), taps), TappedModel(teacher, taps)
    size = images.shape[-1]
    distiller = method(network.describe(size), tapped_teacher.describe(size))
    distiller.bind(torch.arange(train_images) % num_classes, torch.Generator())
    module = DistillationModule(network, distiller).to(device)
    module.train()
    frozen = FrozenTeacher(tapped_teacher)
    optimizer = build_optimizer(module, TrainConfig())
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(len(images), device=device)
    target = index % num_classes

    def step() -> None:
        losses, _ = module(images, frozen(images), Step(target, 0.5, generator, index))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main(
    methods: list[str] | None = None,
    teacher: str = "resnet56",
    student: str = "resnet20",
    batch_size: int = 64,
    steps: int = 40,
    num_classes: int = 100,
    train_images: int = 50_000,
    device: str = "cpu",
) -> None:
    """Print seconds a step of each method, over the floor and over KD.

    Args:
        methods: distillers by class name; KD and TRG if none is named, every one for all.
        teacher: network of the zoo.
        student: network of the zoo.
        batch_size: images of 32x32 a step.
        steps: counted steps of each, after 5 that are not.
        num_classes: classes.
        train_images: size of the training set, for memory banks.
        device: cpu or cuda.
    """
    names = methods or ["KD", "TRG"]
    if names == ["all"]:
        names = [cls.__name__ for cls in subclasses(Distiller)]
    torch.manual_seed(0)
    images = torch.randint(256, (batch_size, 3, 32, 32), dtype=torch.uint8).to(device)
    large = build_model(teacher, num_classes).to(device)
    classes = {"floor": Vanilla} | {name: getattr(trg_pyg.distillers, name) for name in names}
    takers = {name: stepper(student, large, cls, images, num_classes, train_images) for name, cls in classes.items()}
    times: dict[str, list[float]] = {name: [] for name in takers}
    for number in range(steps + 5):
        for name, take in takers.items():
            started = time.perf_counter()
            take()
            if number >= 5:
                times[name].append(time.perf_counter() - started)
    where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{teacher} -> {student}, batch {batch_size}, {steps} steps of each in turn, {where}\n")
    print("| method | ms a step, median | over the floor | over KD |")
    print("|--------|-------------------|----------------|---------|")
    for name, taken in times.items():
        over_kd = f"{_ratio(taken, times['KD']):.3f}" if "KD" in times else ""
        print(f"| {name} | {1000 * statistics.median(taken):.1f} | {_ratio(taken, times['floor']):.3f} | {over_kd} |")


def _ratio(taken: list[float], base: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(taken, base, strict=True))


if __name__ == "__main__":
    auto_cli(main)
