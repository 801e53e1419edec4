"""How good trained networks are: on a split, on its corrupted images, and as a table."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from trg_pyg._program import markdown_table
from trg_pyg._size import shown_size
from trg_pyg.data.base import Data, ImageSet, Source, Splits
from trg_pyg.data.corruption import Corruption
from trg_pyg.data.facts import DataFacts
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.data.files.image_files import ImageFiles
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.data.splits.long_tail import shots
from trg_pyg.data.text.text_data import TextData
from trg_pyg.data.text.vocabulary import Vocabulary
from trg_pyg.errors import count, few, require
from trg_pyg.metrics import Metric, metrics_of
from trg_pyg.models.attack import Attack
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.training.calibration import calibration
from trg_pyg.training.metrics import evaluate, evaluating
from trg_pyg.use.load import TrainedNetwork

Split = Literal["test", "validation", "heldout", "train", "all"]


@dataclass(frozen=True)
class Images:
    """Images to evaluate on.

    Attributes:
        title: what they are, for the reader.
        images: in memory or in files.
        facts: of the data: classes, size and normalisation.
        shots: classes with many, medium and few training images; empty unless the data are long-tailed.
    """

    title: str
    images: Source
    facts: DataFacts
    shots: dict[str, list[int]]


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a network.

    Attributes:
        trained: the network.
        images: what it was measured on.
        metrics: those of :func:`~trg_pyg.training.metrics.evaluate`, ``ece`` in percent, and, where there are corrupted
            images, ``corrupted_top1``, the mean over kinds and severities; under attack, ``robust_top1`` and
            ``robust_ece``.
        corrupted: metrics by kind and severity.
        attack: that the robust figures are of.
    """

    trained: TrainedNetwork
    images: Images
    metrics: dict[str, float]
    corrupted: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)
    attack: Attack | None = None


def read_images_of(data: Data, split: Split | None = None, vocabulary: Vocabulary | None = None) -> Images:
    """Read one split of a data set, without augmentation.

    Args:
        data: the data set.
        split: ``None`` for the images that a run on these data is evaluated on; ``all`` for training and test images
            together.
        vocabulary: of texts, that of the network that is to see them; ``None`` for the data's own.

    Raises:
        InputError: the data cannot be read, or have no such split.
    """
    if isinstance(data, TextData) and vocabulary is not None:
        data = copy(data)
        data.vocabulary = vocabulary
    require(
        split not in ("validation", "heldout") or getattr(data, split) is not None,
        f"--split {split}: nothing is held out of these data; give --data with its option {split}, such as "
        f"--data.{split} 0.1, as in the training",
    )
    splits = data.load()
    images: Source
    if split == "train":
        images = splits.train
    elif split == "heldout" and splits.heldout is not None:
        images = splits.heldout
    elif split == "all" or (split == "test" and splits.evaluated != "test"):
        whole = copy(data)
        whole.validation = whole.heldout = None
        read = whole.load()
        images = read.test if split == "test" else _joined(read)
    else:
        images = splits.test
    name = split or splits.evaluated
    what = {"all": "training and test", "train": "training", "heldout": "held-out"}.get(name, name)
    item = images.task.item
    title = f"{_named(data)}, {len(images):,} {what} {item}s of {splits.shown_size}, {len(splits.classes)} classes"
    groups = shots(splits.class_counts) if data.long_tailed else {}
    return Images(title, images, DataFacts.of(splits), groups)


def check_fits(trained: TrainedNetwork, images: Images) -> None:
    """Refuse images of other classes or another size than the network was trained on.

    Raises:
        InputError: they are.
    """
    facts, size = trained.facts, images.facts.image_size
    takes, given = (f"{each.item}s" for each in (facts, images.facts))
    require(takes == given, f"{trained.path} takes {takes}, the data are {given}; give data of the same kind")
    asked = facts.image_size if isinstance(facts.image_size, int) else f'"{list(facts.image_size)}"'
    require(
        facts.image_size == size,
        f"{trained.path} takes images of {shown_size(facts.image_size)}, the data have {shown_size(size)}; set "
        f"--data.size {asked}",
    )
    require(
        facts.frames == images.facts.frames,
        f"{trained.path} takes clips of {facts.frames} frames, the data have {images.facts.frames}; set --data.frames "
        f"{facts.frames}",
    )
    require(
        facts.channels == images.facts.channels,
        f"{trained.path} takes images of {count(facts.channels, 'channel')}, the data have {images.facts.channels}; "
        "give data of the same kind",
    )
    missing = [name for name in facts.classes if name not in images.facts.classes]
    other = [name for name in images.facts.classes if name not in facts.classes]
    parts = [f"lack {few(missing)}"] if missing else []
    parts += [f"have besides {few(other)}"] if other else []
    require(
        not parts,
        f"{trained.path} was trained on {len(facts.classes)} classes, the data have {len(images.facts.classes)}: they "
        f"{' and '.join(parts)}; give data of the same classes",
    )
    require(
        facts.classes == images.facts.classes,
        f"{trained.path}: the data have the same classes in another order, {few(images.facts.classes, 3)} in place of "
        f"{few(facts.classes, 3)}; number them alike",
    )


def evaluate_on(
    trained: TrainedNetwork,
    images: Images,
    corruptions: Sequence[Corruption] = (),
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    attack: Attack | None = None,
) -> Evaluation:
    """Measure a network on images, on corrupted ones, and on those that an attack makes of it, in evaluation mode.

    Args:
        trained: the network; moved to the device.
        images: of its classes and size, see :func:`check_fits`.
        corruptions: kinds and severities.
        batch_size: images a forward pass.
        device: where it runs.
        attack: how hard it is tried.

    Raises:
        InputError: the network's outputs are not finite, images cannot be read, or texts or clips are to be corrupted
            or attacked.
    """
    require(
        images.facts.item == "image" or not (corruptions or attack),
        f"{trained.path}: corruptions and attacks are of images, and the data are {images.facts.item}s; leave them out",
    )
    require(
        not (images.images.task.answers_for and (corruptions or attack)),
        f"{trained.path}: corruptions and attacks are measured by classes of images, and this network answers for each "
        f"{images.images.task.answers_for}; leave them out",
    )
    network = trained.network.to(device)
    if isinstance(images.images, InputSet):
        network.describe(images.images.example)

    def measure() -> dict[str, float]:
        if images.images.task.answers_for:
            return evaluate(network, images.images, batch_size, device=device)
        with _logits(network) as seen:
            metrics = evaluate(network, images.images, batch_size, images.shots, device=device)
        return metrics | {"ece": answers(seen)["ece"]}

    def answers(seen: list[Tensor]) -> dict[str, float]:
        logits = trained.checked(torch.cat(seen))
        confidence, guess = logits.softmax(dim=1).max(dim=1)
        right = guess == images.images.targets.cpu()
        return {"top1": 100 * right.double().mean().item(), "ece": 100 * calibration(confidence, right).error}

    metrics = measure()
    corrupted: dict[str, dict[int, dict[str, float]]] = {}
    hidden = not corruptions or not sys.stderr.isatty()
    for corruption in tqdm(corruptions, desc=str(trained.path), unit="corruption", leave=False, disable=hidden):
        with _corrupted(network, corruption):
            corrupted.setdefault(corruption.name, {})[corruption.severity] = measure()
    if corrupted:
        metrics["corrupted_top1"] = mean(each["top1"] for kind in corrupted.values() for each in kind.values())
    if attack is not None:
        seen = _attacked(network, images.images, attack, batch_size, str(trained.path))
        metrics |= {f"robust_{name}": value for name, value in answers(seen).items()}
    return Evaluation(trained, images, metrics, corrupted, attack)


def evaluation_tables(evaluations: Sequence[Evaluation]) -> str:
    """Return Markdown tables: one for each set of images, a row a network, and one of corruptions for each network."""
    by_title: dict[str, list[Evaluation]] = {}
    for each in evaluations:
        by_title.setdefault(each.images.title, []).append(each)
    parts = [f"{title}\n\n{_table(group)}" for title, group in by_title.items()]
    attacks = dict.fromkeys(str(each.attack) for each in evaluations if each.attack is not None)
    parts += [f"robust: {attack}; of each image the worst that was found, itself included" for attack in attacks]
    parts += [
        f"top-1 on corrupted images by severity, {each.trained.path}\n\n{_corruption_table(each.corrupted)}"
        for each in evaluations
        if each.corrupted
    ]
    return "\n\n".join(parts)


def _table(evaluations: Sequence[Evaluation]) -> str:
    keys = {key for each in evaluations for key in each.metrics}
    columns = [metric for metric in metrics_of("score", "fit", "shots") if metric.name in keys]
    rows = [["network", "method", "seed", "weights", *(metric.title for metric in columns), "checkpoint"]]
    for each in evaluations:
        trained = each.trained
        about = [trained.name, trained.method or "", trained.seed or "", _weights(trained)]
        rows.append([*about, *(_cell(each.metrics, metric) for metric in columns), str(trained.path)])
    return markdown_table(rows)


def _cell(metrics: Mapping[str, float], metric: Metric) -> str:
    if metric.name not in metrics:
        return ""
    return f"{metrics[metric.name]:.{3 if metric.unit == 'nats' else 2}f}"


def _weights(trained: TrainedNetwork) -> str:
    epoch = trained.weights.metadata.get("epoch")
    return trained.weights.path.stem + ("" if epoch is None else f", epoch {epoch}")


def _corruption_table(corrupted: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    severities = list(next(iter(corrupted.values())))
    rows = [["corruption", *map(str, severities), "mean"]]
    for name, by_severity in corrupted.items():
        values = [by_severity[severity]["top1"] for severity in severities]
        rows.append([name, *(f"{value:.2f}" for value in (*values, mean(values)))])
    columns = [mean(by[severity]["top1"] for by in corrupted.values()) for severity in severities]
    if len(corrupted) > 1:
        rows.append(["mean", *(f"{value:.2f}" for value in (*columns, mean(columns)))])
    return markdown_table(rows)


def _attacked(network: TappedModel, images: Source, attack: Attack, batch_size: int, title: str) -> list[Tensor]:
    """Return the logits of each batch under attack, on the CPU."""

    def logits(images: Tensor) -> Tensor:
        return network(images).logits.float()

    generators, device = attack.generators(), next(network.parameters()).device
    seen: list[Tensor] = []
    with evaluating(network), torch.no_grad():
        batches = make_loader(images, batch_size, shuffle=False, device=device)
        hidden = not sys.stderr.isatty()
        for batch in tqdm(batches, desc=f"{title} under attack", unit="batch", leave=False, disable=hidden):
            batch = batch.to(device)
            seen.append(logits(attack(logits, batch.inputs, batch.target, generators)).cpu())
    return seen


@contextmanager
def _logits(network: TappedModel) -> Iterator[list[Tensor]]:
    """Give the list to which the logits of each batch are added, on the CPU."""
    seen: list[Tensor] = []

    def add(module: torch.nn.Module, args: Any, outputs: Outputs) -> None:
        seen.append(outputs.logits.detach().float().cpu())

    handle = network.register_forward_hook(add)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _corrupted(network: TappedModel, corruption: Corruption) -> Iterator[None]:
    """Corrupt the images on their way into the network, which come in the order of their set."""
    done = 0

    def corrupt(module: torch.nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        nonlocal done
        (images,) = args
        changed = corruption(images, done)
        done += len(images)
        return (changed,)

    handle = network.register_forward_pre_hook(corrupt)
    try:
        yield
    finally:
        handle.remove()


def _joined(splits: Splits) -> Source:
    train, test = splits.train, splits.test
    targets = torch.cat([train.targets, test.targets])
    if isinstance(train, FileSet) and isinstance(test, FileSet):
        return replace(
            train, files=np.concatenate([train.files, test.files]), targets=targets, digest=None, places=None
        )
    if isinstance(train, InputSet) and isinstance(test, InputSet):
        assert isinstance(train.inputs, Mapping)
        assert isinstance(test.inputs, Mapping)
        inputs = {name: torch.cat([each, test.inputs[name]]) for name, each in train.inputs.items()}
        return replace(train, inputs=inputs, targets=targets, digest=None, places=None)
    assert isinstance(train, ImageSet)
    assert isinstance(test, ImageSet)
    return replace(train, images=torch.cat([train.images, test.images]), targets=targets, digest=None, places=None)


def _named(data: Data) -> str:
    tail = "" if data.imbalance is None else f"-LT{data.imbalance:g}"
    place = f" in {data.root}" if isinstance(data, ImageFiles) else ""
    return f"{type(data).__name__}{tail}{place}"
