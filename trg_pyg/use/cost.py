"""What a network costs on this machine, measured beside that of another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trg_pyg._program import markdown_table
from trg_pyg.config.schema import TeacherConfig
from trg_pyg.config.stored import read_network
from trg_pyg.errors import InputError, require
from trg_pyg.models.cost import cost
from trg_pyg.models.image_classifier import ImageClassifier
from trg_pyg.models.taps import TappedModel
from trg_pyg.runs import CONFIG
from trg_pyg.study.study import build_network
from trg_pyg.use.load import TrainedNetwork, untrained

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

# A round is as many calls as take that long at least, so that the clock does not matter.
_SECONDS = 0.02
# Rounds of slow networks end after that many seconds, but for a few.
MOST_SECONDS = 20
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """What a network costs.

    Attributes:
        parameters: of it.
        megabytes: 10^6 bytes of its weights and buffers, which is the size of a safetensors file but for the header.
        flops: of an image, a multiply-add counted as two.
        milliseconds: by batch size, of a forward pass.
    """

    parameters: int
    megabytes: float
    flops: int
    milliseconds: dict[int, float]

    def images_per_second(self, batch: int) -> float:
        """Return the rate at a batch size that was timed."""
        return 1000 * batch / self.milliseconds[batch]


def measure_cost(
    networks: Mapping[str, ImageClassifier],
    image_size: int,
    batches: Sequence[int],
    rounds: int,
    device: torch.device | str = "cpu",
) -> dict[str, Measured]:
    """Measure networks side by side.

    Times are medians over rounds, after a warm-up. In each round every network has its turn, so that what else the
    machine does falls on all of them. Images lie on the device, float32; all threads of PyTorch are used.

    Args:
        networks: by name; moved to the device and set to evaluation mode.
        image_size: height and width of the images, in pixels.
        batches: images of a forward pass, each >= 1.
        rounds: of each network and batch size, >= 1; fewer, but three, where they take more than 20 seconds.
        device: where they run.

    Raises:
        InputError: a number is below 1, or the memory does not suffice for a batch.
    """
    require(rounds >= 1, f"rounds {rounds} is below 1")
    require(len(batches) > 0 and min(batches) >= 1, f"batches {list(batches)} must be numbers of at least 1")
    ready = {name: network.to(device).eval() for name, network in networks.items()}
    counted = {name: cost(network, image_size) for name, network in ready.items()}
    times: dict[str, dict[int, float]] = {name: {} for name in ready}
    for batch in batches:
        images = torch.rand(batch, 3, image_size, image_size, device=device)
        for name, seconds in _times(ready, images, rounds).items():
            times[name][batch] = 1000 * seconds
    return {
        name: Measured(counted[name].parameters, _megabytes(network), counted[name].flops, times[name])
        for name, network in ready.items()
    }


def cost_table(measured: Mapping[str, Measured], reference: str | None = None) -> str:
    """Return a Markdown table: one row a network, and how many times cheaper or faster it is.

    Args:
        measured: by the name of the row, all at the same batch sizes.
        reference: row that the others are compared with; ``None`` leaves the comparison out.
    """
    batches = list(next(iter(measured.values())).milliseconds)
    titles = ["", "parameters", "MB", "MFLOPs", *(f"ms, batch {batch}" for batch in batches)]
    rows = [[*titles, f"images/s, batch {batches[-1]}"]]
    for name, row in measured.items():
        rows.append([name, *_cells(row, batches)])
        if reference not in (None, name):
            rows.append(["  gain", *_ratios(measured[str(reference)], row, batches)])
    return markdown_table(rows)


def _cells(row: Measured, batches: Sequence[int]) -> list[str]:
    times = [f"{row.milliseconds[batch]:.2f}" for batch in batches]
    rate = f"{row.images_per_second(batches[-1]):,.0f}"
    return [f"{row.parameters:,}", f"{row.megabytes:.2f}", f"{row.flops / 1e6:,.1f}", *times, rate]


def _ratios(reference: Measured, row: Measured, batches: Sequence[int]) -> list[str]:
    times = [reference.milliseconds[batch] / row.milliseconds[batch] for batch in batches]
    sizes = [reference.parameters / row.parameters, reference.megabytes / row.megabytes, reference.flops / row.flops]
    return [f"{ratio:.2f}x" for ratio in (*sizes, *times, times[-1])]


def _megabytes(network: ImageClassifier) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / 1e6


@torch.inference_mode()
def _times(networks: Mapping[str, ImageClassifier], images: Tensor, rounds: int) -> dict[str, float]:
    """Return the median time of a forward pass of each network, in seconds."""
    # Here, since it imports PyTorch's compiler of extensions, which says so where there is no GPU.
    from torch.utils.benchmark import Timer

    timers = {
        name: Timer("network(images)", globals={"network": network, "images": images}, num_threads=_threads())
        for name, network in networks.items()
    }
    try:
        calls = {name: _calls(timer) for name, timer in timers.items()}
        taken: dict[str, list[float]] = {name: [] for name in timers}
        begun = perf_counter()
        for done in range(rounds):
            if done >= LEAST_ROUNDS and perf_counter() - begun > MOST_SECONDS:
                break
            for name, timer in timers.items():
                taken[name].append(timer.timeit(calls[name]).mean)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"the memory does not suffice for a batch of {len(images)} images; give a smaller one"
        ) from error
    return {name: median(values) for name, values in taken.items()}


def _calls(timer: "Timer") -> int:
    """Return how many calls make a round. A timer warms up by itself."""
    return max(1, round(_SECONDS / timer.timeit(1).mean))


def _threads() -> int:
    # A timer would take one by itself.
    return torch.get_num_threads()


def compare_cost(runs: Sequence[TrainedNetwork], batches: Sequence[int], rounds: int, device: torch.device) -> str:
    """Return a table: the teacher first, then each network of the runs that differs.

    Args:
        runs: of the same teacher and image size; of a run without a teacher the student is shown alone.
        batches: images of a forward pass.
        rounds: of each network and batch size.
        device: where they run.

    Raises:
        InputError: the runs have different teachers or image sizes, or a network cannot be run.
    """
    first = runs[0]
    size = first.facts.image_size
    for run in runs:
        classes = len(run.facts.classes)
        require(
            (run.facts.image_size, classes) == (size, len(first.facts.classes)),
            f"{run.folder} is of {classes} classes and images of {run.facts.image_size} pixels, {first.folder} of "
            f"{len(first.facts.classes)} and {size}; compare runs of the same kind of data",
        )
    networks: dict[str, ImageClassifier] = {}
    teacher = _teacher(runs)
    if teacher is not None:
        networks[f"teacher {teacher[0]}"] = _classifier(teacher[1])
    reference = next(iter(networks), None)
    for run in runs:
        networks.setdefault(f"student {run.name}{_arguments(run)}" if teacher else run.name, _classifier(run.network))
    place = f"{torch.cuda.get_device_name()}" if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    heading = (
        f"images of {size}x{size}, {device.type} ({place}), median of {rounds} rounds, or of those in {MOST_SECONDS} s"
    )
    return f"{heading}\n\n{cost_table(measure_cost(networks, size, batches, rounds, device), reference)}"


def _teacher(runs: Sequence[TrainedNetwork]) -> tuple[str, TappedModel] | None:
    """Return name and network of the teacher, which all runs that have one share."""
    found = [
        (run, untrained(read_network(TeacherConfig, "teacher", run.settings["teacher"], run.folder / CONFIG)))
        for run in runs
        if "teacher" in run.settings
    ]
    if not found:
        return None
    first, config = found[0]
    for run, other in found:
        require(
            (other.name, other.args) == (config.name, config.args),
            f"{run.folder}: its teacher is {other.name}, that of {first.folder} {config.name}; compare one by one",
        )
    return config.name, build_network(config, first.facts, seed=0)


def _classifier(network: TappedModel) -> ImageClassifier:
    assert network.normalize is not None
    return ImageClassifier(network.model, network.normalize)


def _arguments(run: TrainedNetwork) -> str:
    args = run.config.args
    return f" ({', '.join(f'{name}={value}' for name, value in args.items())})" if args else ""
