"""An epoch of distillation by KD, data included, here and as public repositories write it, in turn in one run.

    python experiments/benchmarks/epoch.py --images 5000

The other side is the loop of the CIFAR repositories: a data set of PIL images with torchvision's transforms, worker
processes, plain networks, and ``item()`` for loss and accuracies in every step. Both sides train equal networks on the
same images. They take chunks of batches in turn, so that a machine that slows down slows both. The first batches of a
chunk are not counted: the workers have decoded them while the other side was running. Nor is the start of the workers,
which a whole epoch has once.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from experiments.benchmarks._measure import ratio, show
from trg_pyg.data import CIFAR100
from trg_pyg.data.base import ImageData, ImageSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.data.loading.loader import BatchLoader
from trg_pyg.distillers.kd import KD
from trg_pyg.errors import InputError, require
from trg_pyg.models.normalize import Normalize
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.zoo import build_model
from trg_pyg.training.compiled import convolutions_channels_last
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import SINGLE_PROCESS
from trg_pyg.training.learner import Learner, Seeds, Trainee
from trg_pyg.training.teaching import Teaching

WHOLE_EPOCH = 50_000
_PREFETCH = 2  # batches that each worker of a DataLoader keeps ready, torch's default
_PADDING = 4

Channels = tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """What one side takes.

    Attributes:
        side: who.
        seconds_an_epoch: of 50,000 images at the speed of the median chunk.
        images_per_second: the same speed.
        times_as_fast: the other side's time over this one's, median over the chunks; 1 for the other side.
    """

    side: str
    seconds_an_epoch: float
    images_per_second: float
    times_as_fast: float


class Networks(NamedTuple):
    """A fresh teacher and student, alike for both sides, with what normalises their images."""

    teacher: nn.Module
    student: nn.Module
    mean: Channels
    std: Channels


def ours(train: ImageSet, networks: Networks, config: TrainConfig, device: torch.device) -> Iterator[int]:
    """Train for an epoch with this package; yield the images of each batch after its step."""
    with convolutions_channels_last([networks.teacher, networks.student] if config.channels_last else []):
        normalize, size = Normalize(networks.mean, networks.std), train.image_size
        student, teacher = (TappedModel(each, [], normalize) for each in (networks.student, networks.teacher))
        distiller = KD(student.describe(size), teacher.describe(size))
        teaching = Teaching([teacher], size, config, SINGLE_PROCESS, device)
        learner = Learner(
            Trainee(student, distiller, teacher),
            train,
            config,
            seeds=Seeds(0, 0, 0, 0),
            device=device,
            world=SINGLE_PROCESS,
            steps=len(train),  # more than are taken
        )
        for batch in BatchLoader(train.to(device), config.batch_size, augment=Augment(_PADDING, flip=True)):
            learner.backward(batch, teaching(batch.inputs, [True])[0], 1.0, last=True)
            learner.update()
            yield len(batch)


class PILDataset(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's CIFAR data sets hold and give them.

    Args:
        image_set: images and classes.
        transform: PIL image -> tensor.
    """

    def __init__(self, image_set: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self.data = image_set.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets: list[int] = image_set.targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


class AverageMeter:
    """A running mean of Python numbers, as it is copied from repository to repository."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def update(self, value: float, n: int) -> None:
        """Add the mean of ``n`` images."""
        self.sum += value * n
        self.count += n


def theirs(train: ImageSet, networks: Networks, batch_size: int, workers: int, device: torch.device) -> Iterator[int]:
    """Train for an epoch as public repositories do; yield the images of each batch after its step."""
    from torchvision import transforms  # takes seconds to import

    transform = transforms.Compose(
        [
            transforms.RandomCrop(train.image_size, padding=_PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(networks.mean, networks.std),
        ]
    )
    loader = DataLoader(PILDataset(train, transform), batch_size=batch_size, shuffle=True, num_workers=workers)
    teacher, student = networks.teacher.to(device).eval(), networks.student.to(device).train()
    config, tau = TrainConfig(), 4.0
    optimizer = torch.optim.SGD(
        student.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
    for images, targets in loader:
        images, targets = images.to(device), targets.to(device)
        logits = student(images)
        with torch.no_grad():
            teacher_logits = teacher(images)
        divergence = F.kl_div(
            F.log_softmax(logits / tau, dim=1), F.softmax(teacher_logits / tau, dim=1), reduction="batchmean"
        )
        loss = 0.1 * F.cross_entropy(logits, targets) + 0.9 * tau**2 * divergence
        first, fifth = accuracy(logits, targets, topk=(1, 5))
        losses.update(loss.item(), len(images))
        top1.update(first.item(), len(images))
        top5.update(fifth.item(), len(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(images)


def accuracy(logits: Tensor, targets: Tensor, topk: tuple[int, ...]) -> list[Tensor]:
    """Return the top-k accuracies in percent, as PyTorch's ImageNet example computes them."""
    with torch.no_grad():
        most = min(max(topk), logits.shape[1])
        hits = logits.topk(most, dim=1).indices.t().eq(targets.view(1, -1))
        return [100 * hits[:k].reshape(-1).float().sum() / len(targets) for k in topk]


def measure(
    images: int = 5_000,
    data: ImageData | None = None,
    teacher: str = "resnet56",
    student: str = "resnet20",
    batch_size: int = 64,
    workers: int = 2,
    chunk: int = 10,
    num_classes: int = 100,
    lowered: bool = True,
    device: str = "cpu",
) -> list[Row]:
    """Return seconds an epoch of 50,000 images, images a second, and how much faster than public repositories.

    Args:
        images: random images of 32x32, or how many of the first ones of ``data``.
        data: data set whose training images are taken, in memory.
        teacher: network of the zoo.
        student: network of the zoo.
        batch_size: images a step.
        workers: processes that decode for the other side.
        chunk: counted batches of a side before the other side's turn.
        num_classes: classes of random images.
        lowered: compile this package's networks, and lay their weights out channels last.
        device: cpu or cuda.

    Raises:
        InputError: there are fewer batches than a chunk, or the images are not in memory.
    """
    train, num_classes, mean, std = _images(images, data, num_classes)
    place, settling = torch.device(device), _PREFETCH * workers
    rounds = len(train) // (batch_size * (settling + chunk))
    require(
        rounds > 0,
        f"{len(train)} images in batches of {batch_size} are no chunk of {chunk} batches after {settling} that do not "
        "count; take more images or a smaller chunk",
    )

    def networks() -> Networks:
        torch.manual_seed(0)
        return Networks(build_model(teacher, num_classes), build_model(student, num_classes), mean, std)

    config = TrainConfig(batch_size=batch_size, compile=lowered, channels_last=lowered)
    sides = {
        "trg_pyg": ours(train, networks(), config, place),
        "public repositories": theirs(train, networks(), batch_size, workers, place),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        # Each side goes first in every other round.
        for name in list(sides) if number % 2 else reversed(list(sides)):
            _train(sides[name], settling, place)
            times[name].append(_train(sides[name], chunk, place) / (chunk * batch_size))
    other = times["public repositories"]
    return [
        Row(
            name,
            WHOLE_EPOCH * statistics.median(taken),
            1 / statistics.median(taken),
            ratio(other, taken),
        )
        for name, taken in times.items()
    ]


def _images(count: int, data: ImageData | None, num_classes: int) -> tuple[ImageSet, int, Channels, Channels]:
    """Return images in memory, their classes, and mean and standard deviation of their channels."""
    if data is None:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return ImageSet(pixels, torch.arange(count) % num_classes), num_classes, CIFAR100.mean, CIFAR100.std
    splits = data.load()
    if not isinstance(splits.train, ImageSet):
        raise InputError("the images of data are streamed from files, and this compares sets in memory; do not stream")
    train = splits.train.select(torch.arange(min(count, len(splits.train))))
    return train, len(splits.classes), splits.mean, splits.std


def _train(side: Iterator[int], batches: int, device: torch.device) -> float:
    """Return the seconds that some batches take."""
    started = time.perf_counter()
    for _ in range(batches):
        next(side)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    show(measure)
