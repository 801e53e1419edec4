"""What is reported of a network on a set of images."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trg_pyg.data.base import Source
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.errors import require
from trg_pyg.tasks.base import Groups
from trg_pyg.training.config import Precision, autocast
from trg_pyg.training.distributed import SINGLE_PROCESS, World


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Source,
    batch_size: int,
    shots: Groups | None = None,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    world: World = SINGLE_PROCESS,
) -> dict[str, float]:
    """Return the metrics of ``model`` on ``data``, measured in eval mode; every module's mode is restored.

    Args:
        model: on ``device``; images uint8 ``[B, C, H, W]`` to :class:`~trg_pyg.models.taps.Outputs`.
        data: at least one image; on any device, or in files.
        batch_size: images a forward pass.
        shots: classes of each group of a long-tailed training set, such as ``{"many": [0, 1], "few": [2]}``.
        precision: of the forward pass; the loss is float32.
        device: where the forward pass runs.
        world: processes that share the work out, all with the same arguments. Each takes whole batches, so that every
            image is seen in the company in which one process would see it, and the metrics, the same on every process,
            are those of one process to the bit.

    Returns:
        The metrics of the set's task; of images those of
        :meth:`~trg_pyg.tasks.image_classification.ImageClassification.metrics`.

    Raises:
        InputError: ``data`` is empty, or ``shots`` or a target names a class that the model does not have.
    """
    task = data.task
    require(len(data) > 0, f"the test set has 0 {task.item}s: nothing to evaluate; choose a set with {task.item}s")
    device = torch.device(device)
    shares = _whole_batches(len(data), batch_size, world)
    own = _share(data, shares, batch_size, world)
    measured: list[dict[str, Tensor]] = []
    with evaluating(model):
        for batch in make_loader(own, batch_size, shuffle=False, device=device):
            batch = batch.to(device)
            with autocast(device, precision):
                outputs = model(batch.inputs)
            if not measured:
                task.check_set(outputs, data.targets, shots or {})
            measured.append(task.measure(outputs, batch))
    everything = {name: _gathered([each[name] for each in measured], shares, world) for name in measured[0]}
    return task.metrics(everything, data.targets, shots or {})


def _whole_batches(images: int, batch_size: int, world: World) -> list[int]:
    """Return the images of each process's share, all but the last of them whole batches."""
    require(batch_size >= 1, f"batch_size {batch_size} is below 1; a batch holds at least one image")
    left, sizes = images, []
    for batches in world.part(math.ceil(images / batch_size)):
        sizes.append(min(batches * batch_size, left))
        left -= sizes[-1]
    return sizes


def _share(data: Source, shares: list[int], batch_size: int, world: World) -> Source:
    if world.size == 1:
        return data
    start = sum(shares[: world.rank])
    # A process without images looks at the first ones: it too has to know the classes, and to refuse what is refused.
    rows = range(start, start + shares[world.rank]) or range(min(batch_size, len(data)))
    return data.select(torch.arange(rows.start, rows.stop, device=data.targets.device))


def _gathered(batches: list[Tensor], shares: list[int], world: World) -> Tensor:
    return world.gather(torch.cat(batches)[: shares[world.rank]], shares)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode for a while; the mode of every module is restored."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
