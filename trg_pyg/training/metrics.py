"""What is reported of a network on a set of images."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg._transfer import in_double
from trg_pyg.data.base import ImageSource
from trg_pyg.data.loader import make_loader
from trg_pyg.errors import InputError, require
from trg_pyg.training.config import Precision, autocast
from trg_pyg.training.distributed import SINGLE_PROCESS, World

Shots = Mapping[str, Sequence[int]]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    image_set: ImageSource,
    batch_size: int,
    shots: Shots | None = None,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    world: World = SINGLE_PROCESS,
) -> dict[str, float]:
    """Return the metrics of ``model`` on ``image_set``, measured in eval mode; every module's mode is restored.

    Args:
        model: on ``device``; images uint8 ``[B, C, H, W]`` to :class:`~trg_pyg.models.taps.Outputs`.
        image_set: at least one image; on any device, or in files.
        batch_size: images a forward pass.
        shots: classes of each group of a long-tailed training set, such as ``{"many": [0, 1], "few": [2]}``.
        precision: of the forward pass; the loss is float32.
        device: where the forward pass runs.
        world: processes that share the work out, all with the same arguments. Each takes whole batches, so that every
            image is seen in the company in which one process would see it, and the metrics, the same on every process,
            are those of one process to the bit.

    Returns:
        ``top1`` in percent; ``top5`` in percent where there are more than 5 classes; ``loss``, the mean cross-entropy
        in nats; and for each group of ``shots`` the mean over its classes of the accuracy within the class, in
        percent. A group without a test image is left out.

    Raises:
        InputError: ``image_set`` is empty, or ``shots`` or a target names a class that the model does not have.
    """
    require(len(image_set) > 0, "the test set has 0 images: nothing to evaluate; choose a set with images")
    device = torch.device(device)
    shares = _whole_batches(len(image_set), batch_size, world)
    own = _share(image_set, shares, batch_size, world)
    right: list[Tensor] = []
    losses: list[Tensor] = []
    with evaluating(model):
        for batch in make_loader(own, batch_size, shuffle=False, device=device):
            images, targets, _ = (tensor.to(device, non_blocking=True) for tensor in batch)
            with autocast(device, precision):
                logits = model(images).logits.float()
            if not right:
                _check_classes(image_set.targets, logits.shape[1], shots or {})
            right.append(_ranked(logits, targets))
            losses.append(F.cross_entropy(logits, targets, reduction="none"))
    hits = _gathered(right, shares, world).cpu()
    top1 = hits[:, 0]
    metrics = {"top1": _percent(top1)}
    if logits.shape[1] > 5:
        metrics["top5"] = _percent(hits.any(dim=1))
    metrics["loss"] = in_double(_gathered(losses, shares, world)).mean().item()
    return metrics | _group_accuracy(top1, image_set.targets.cpu(), logits.shape[1], shots or {})


def _whole_batches(images: int, batch_size: int, world: World) -> list[int]:
    """Return the images of each process's share, all but the last of them whole batches."""
    require(batch_size >= 1, f"batch_size {batch_size} is below 1; a batch holds at least one image")
    left, sizes = images, []
    for batches in world.part(math.ceil(images / batch_size)):
        sizes.append(min(batches * batch_size, left))
        left -= sizes[-1]
    return sizes


def _share(image_set: ImageSource, shares: list[int], batch_size: int, world: World) -> ImageSource:
    if world.size == 1:
        return image_set
    start = sum(shares[: world.rank])
    # A process without images looks at the first ones: it too has to know the classes, and to refuse what is refused.
    rows = range(start, start + shares[world.rank]) or range(min(batch_size, len(image_set)))
    return image_set.select(torch.arange(rows.start, rows.stop, device=image_set.targets.device))


def _gathered(batches: list[Tensor], shares: list[int], world: World) -> Tensor:
    return world.gather(torch.cat(batches)[: shares[world.rank]], shares)


def _ranked(logits: Tensor, targets: Tensor) -> Tensor:
    """Return ``[B, min(5, C)]``: whether the target is the first, second, ... guess."""
    guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
    return guesses == targets[:, None]


def _percent(hits: Tensor) -> float:
    return 100 * hits.double().mean().item()


def _group_accuracy(hits: Tensor, targets: Tensor, num_classes: int, shots: Shots) -> dict[str, float]:
    count = torch.bincount(targets, minlength=num_classes)
    correct = torch.bincount(targets[hits], minlength=num_classes)
    accuracy = correct.double() / count
    groups = {}
    for name, classes in shots.items():
        tested = [c for c in classes if count[c] > 0]
        if tested:
            groups[name] = 100 * accuracy[tested].mean().item()
    return groups


def _check_classes(targets: Tensor, num_classes: int, shots: Shots) -> None:
    # Before the loss: on a GPU a target out of range ends the process with an assertion that names nothing.
    named = {"the test set": int(targets.max()), **{f"shots[{k!r}]": max(v, default=0) for k, v in shots.items()}}
    for place, highest in named.items():
        if highest >= num_classes:
            raise InputError(
                f"class {highest} in {place}: the model has {num_classes} classes; build it for {highest + 1} or more"
            )


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
