"""What a network costs on this machine, measured beside that of another."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from trg_pyg._program import markdown_table
from trg_pyg._size import Size, shown_size, sides
from trg_pyg.config.schema import TeacherConfig
from trg_pyg.config.stored import read_network
from trg_pyg.errors import InputError, require
from trg_pyg.models.cost import cost
from trg_pyg.models.image_classifier import ImageClassifier
from trg_pyg.models.taps import TappedModel
from trg_pyg.runs import CONFIG
from trg_pyg.study.progress import duration
from trg_pyg.study.study import build_network
from trg_pyg.use.load import TrainedNetwork, untrained

Tell = Callable[[str], None]

# A round is as many calls as take that long at least, so that the clock does not matter.
_SECONDS = 0.02
# Rounds of slow networks end after that many seconds, but for a few.
MOST_SECONDS = 20
LEAST_ROUNDS = 3
_TELL_SECONDS = 10


@dataclass(frozen=True)
class Measured:
    """What a network costs.

    Attributes:
        parameters: of it.
        megabytes: 10^6 bytes of its weights and buffers, which is the size of a safetensors file but for the header.
        flops: of an image, a multiply-add counted as two.
        milliseconds: by batch size, of a forward pass; not of those for which the time did not suffice.
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
    image_size: Size,
    batches: Sequence[int],
    rounds: int,
    device: torch.device | str = "cpu",
    seconds: float = math.inf,
    tell: Tell = lambda line: None,
) -> dict[str, Measured]:
    """Measure networks side by side.

    Times are medians over rounds, after a warm-up. In each round every network has its turn, so that what else the
    machine does falls on all of them. Images lie on the device, float32; all threads of PyTorch are used.

    Args:
        networks: by name; moved to the device and set to evaluation mode.
        image_size: side of the images, or height and width, in pixels.
        batches: images of a forward pass, each >= 1.
        rounds: of each network and batch size, >= 1; fewer, but three, where they take more than 20 seconds.
        device: where they run.
        seconds: after which no more is measured: the rounds so far count, and a batch without one is left out, as is
            one that would take longer by what a smaller one took.
        tell: is given a line on how far it is, now and then.

    Raises:
        InputError: a number is below 1, or the memory does not suffice for a batch.
    """
    require(rounds >= 1, f"rounds {rounds} is below 1")
    require(len(batches) > 0 and min(batches) >= 1, f"batches {list(batches)} must be numbers of at least 1")
    ready = {name: network.to(device).eval() for name, network in networks.items()}
    counted = {name: cost(network, image_size, network.channels) for name, network in ready.items()}
    times: dict[str, dict[int, float]] = {name: {} for name in ready}
    ends = perf_counter() + seconds
    for batch in batches:
        found: dict[str, float] = {}
        if perf_counter() + _expected(times, batch) <= ends:
            channels = next(iter(ready.values())).channels
            images = torch.rand(batch, channels, *sides(image_size), device=device)
            found = _times(ready, images, rounds, ends, tell)
        if not found:
            tell(f"batch {batch}: left out, for it takes too long")
        for name, taken in found.items():
            times[name][batch] = 1000 * taken
    require(any(times.values()), f"nothing could be measured in {seconds:g} s; give more time, or smaller batches")
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
def _times(
    networks: Mapping[str, ImageClassifier], images: Tensor, rounds: int, ends: float, tell: Tell
) -> dict[str, float]:
    """Return the median time of a forward pass of each network, in seconds; nothing where the time did not suffice."""
    batch = len(images)
    tell(f"batch {batch}: warming up")
    try:
        calls: dict[str, int] = {}
        for name, network in networks.items():
            first = _seconds(network, images)
            taken = _seconds(network, images) if first < 1 else first  # what is made once belongs to no pass
            calls[name] = max(1, round(_SECONDS / taken))
            tell(f"batch {batch}: {name} takes {1000 * taken:,.1f} ms")
            if perf_counter() > ends:
                return {}
        found: dict[str, list[float]] = {name: [] for name in networks}
        begun = told = perf_counter()
        for done in range(rounds):
            now = perf_counter()
            if (done >= LEAST_ROUNDS and now - begun > MOST_SECONDS) or (done > 0 and now > ends):
                break
            if now - told > _TELL_SECONDS:
                tell(f"batch {batch}: {done} of {rounds} rounds in {duration(now - begun)}")
                told = now
            for name, network in networks.items():
                found[name].append(_seconds(network, images, calls[name]))
    except torch.OutOfMemoryError as error:
        raise InputError(f"the memory does not suffice for a batch of {batch} images; give a smaller one") from error
    return {name: median(values) for name, values in found.items()}


def _seconds(network: ImageClassifier, images: Tensor, calls: int = 1) -> float:
    """Return the seconds of a forward pass, the mean of some."""
    device = torch.get_device_module(images.device)
    device.synchronize()
    begun = perf_counter()
    for _ in range(calls):
        network(images)
    device.synchronize()
    return (perf_counter() - begun) / calls


def _expected(times: Mapping[str, Mapping[int, float]], batch: int) -> float:
    """Return the seconds of two passes of each network, by what a smaller batch took; 0 where there is none."""
    smaller = max((size for size in next(iter(times.values())) if size < batch), default=0)
    return 2 * sum(taken[smaller] for taken in times.values()) / smaller * batch / 1000 if smaller else 0.0


def compare_cost(
    runs: Sequence[TrainedNetwork],
    batches: Sequence[int],
    rounds: int,
    device: torch.device,
    seconds: float = math.inf,
    tell: Tell = lambda line: None,
) -> str:
    """Return a table: the teacher first, then each network of the runs that differs.

    Args:
        runs: of the same teacher and image size; of a run without a teacher the student is shown alone.
        batches: images of a forward pass.
        rounds: of each network and batch size.
        device: where they run.
        seconds: as for :func:`measure_cost`.
        tell: as for :func:`measure_cost`.

    Raises:
        InputError: the runs have different teachers or image sizes, or a network cannot be run.
    """
    first = runs[0]
    size = first.facts.image_size
    for run in runs:
        classes = len(run.facts.classes)
        require(
            (_shape(run), classes) == (_shape(first), len(first.facts.classes)),
            f"{run.folder} is of {classes} classes and images of {_shape(run)}, {first.folder} of "
            f"{len(first.facts.classes)} and {_shape(first)}; compare runs of the same kind of data",
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
        f"images of {shown_size(size)}, {device.type} ({place}), median of {rounds} rounds, or of those in "
        f"{MOST_SECONDS} s"
    )
    measured = measure_cost(networks, size, batches, rounds, device, seconds, tell)
    lacking = [batch for batch in batches if batch not in next(iter(measured.values())).milliseconds]
    if lacking:
        heading += f"; batch {' and '.join(map(str, lacking))} left out, over the limit of {duration(seconds)}"
    return f"{heading}\n\n{cost_table(measured, reference)}"


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


def _shape(run: TrainedNetwork) -> str:
    return f"{run.facts.channels}x{shown_size(run.facts.image_size)}"
