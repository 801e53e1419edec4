"""Photographs to batches: what decoder, resize, uint8 and scaled decoding gain over torchvision's pipeline.

    python experiments/benchmarks/decoding.py --cpu_time true
    python experiments/benchmarks/decoding.py --cpu_time true --images 32 --batch_size 16 --width 2000 --height 1500

Every side decodes the same made-up JPEGs in worker processes, cuts out a random box of 8 to 100 % of the area, resizes
it (bilinear, antialiased) and mirrors it at random. torchvision's own pipeline gives normalised float32 batches; the
other sides give uint8, and the device has the rest to do. The sides take an epoch each in turn.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.benchmarks._measure import Work, in_turn, ms, ratio, show
from trg_pyg.batch import Batch
from trg_pyg.data import FileSet, RandomResizedCrop, encode_paths, make_loader
from trg_pyg.data.base import IMAGENET_MEAN, IMAGENET_STD
from trg_pyg.models.normalize import Normalize

TORCHVISION = "torchvision"
# Whether the pixels of a side are those of torchvision's, for the same boxes; None: it gives none.
EQUAL = {
    "Pillow decodes, no more": None,
    TORCHVISION: True,
    "torchvision, uint8": True,
    "the same by decode_jpeg": True,
    "the same by decode_jpeg, resized by PyTorch": False,
    "trg_pyg": True,
    "trg_pyg, scaled_decoding": False,
}
_GRAINS = {5: 60.0, 20: 40.0, 80: 30.0, 250: 14.0}  # cells across, and the deviation of their levels
_NOISE = 5.0
_QUALITY = 90
_CLASSES = 2


@dataclass(frozen=True)
class Row:
    """What one side takes.

    Attributes:
        size: side of the images of a batch, in pixels.
        side: who.
        equal_output: whether the pixels are those of torchvision's pipeline, for the same boxes; None for the floor.
        ms: median milliseconds an image, until it lies on the device.
        times_as_fast: torchvision's time over this one's, median over the epochs.
        rest_ms: what it takes there to normalise uint8 images, an image.
        with_rest: times as fast with that.
    """

    size: int
    side: str
    equal_output: bool | None
    ms: float
    times_as_fast: float
    rest_ms: float
    with_rest: float


def write_photographs(root: Path, count: int, width: int, height: int) -> list[str]:
    """Write JPEGs of random structure of all sizes into folders of classes, and return their names."""
    generator = np.random.default_rng(0)
    names = []
    for number in range(count):
        levels = 128 + generator.normal(0, _NOISE, (height, width, 3))
        for cells, deviation in _GRAINS.items():
            grain = generator.normal(0, deviation, (3, max(2, cells * height // width), cells)).astype(np.float32)
            large = [Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC) for one in grain]
            levels += np.stack([np.asarray(one) for one in large], axis=-1)
        names.append(f"{number % _CLASSES}/{number:05d}.jpg")
        (root / names[-1]).parent.mkdir(exist_ok=True)
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(root / names[-1], quality=_QUALITY)
    return names


def pipelines(root: Path, names: list[str], size: int, batch_size: int, workers: int) -> dict[str, Iterable[Any]]:
    """Return a loader of each side, by name."""
    from torchvision import datasets, io  # takes seconds to import
    from torchvision.transforms import v2

    def read(path: str) -> Tensor:
        return io.decode_jpeg(io.read_file(path))

    pillow, to_image = datasets.folder.pil_loader, v2.ToPILImage()
    cut = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
    floats = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    ways: list[tuple[Callable[[str], Any], list[Any]]] = [
        (lambda path: Image.open(path).load(), [lambda _: torch.zeros(3, 1, 1, dtype=torch.uint8)]),
        (pillow, [*cut, *floats]),
        (pillow, [*cut, v2.PILToTensor()]),
        (lambda path: to_image(read(path)), [*cut, v2.PILToTensor()]),
        (read, cut),
    ]
    loaders: list[Iterable[Any]] = [
        DataLoader(
            datasets.ImageFolder(str(root), v2.Compose(transforms), loader=loader),
            batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for loader, transforms in ways
    ]
    files = FileSet(root, encode_paths(names), torch.zeros(len(names), dtype=torch.int64), size, size, workers)
    for scaled in (False, True):
        crop, generator = RandomResizedCrop(scaled=scaled), torch.Generator().manual_seed(0)
        loaders.append(make_loader(files, batch_size, augment=crop, generator=generator))
    return dict(zip(EQUAL, loaders, strict=True))


def run_through(loader: Iterable[Any], device: torch.device) -> None:
    """Have all batches of an epoch on the device."""
    for batch in loader:
        (batch.inputs if isinstance(batch, Batch) else batch[0]).to(device)


def cpu_seconds() -> float:
    """Return the seconds of the processor that this process and its living workers have taken (Linux)."""
    taken = time.process_time()
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        taken += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return taken


def measure(
    images: int = 384,
    width: int = 500,
    height: int = 375,
    sizes: tuple[int, ...] = (128, 224),
    batch_size: int = 64,
    workers: int = 2,
    repeats: int = 7,
    device: str = "cpu",
    cpu_time: bool = False,
) -> list[Row]:
    """Return milliseconds an image of each side, and how many times as fast as torchvision's pipeline it is.

    Args:
        images: made-up JPEGs.
        width: of each, in pixels.
        height: of each, in pixels.
        sizes: sides of the images of a batch, in pixels.
        batch_size: images a batch.
        workers: processes that decode for each side.
        repeats: counted epochs of each side, after one that is not.
        device: cpu or cuda.
        cpu_time: count seconds of the processor, of the workers too, on a CPU that has other work.
    """
    place, clock = torch.device(device), cpu_seconds if cpu_time else time.perf_counter
    normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD).to(place)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        names = write_photographs(Path(folder), images, width, height)
        for size in sizes:
            batch = torch.zeros(batch_size, 3, size, size, dtype=torch.uint8, device=place)
            works: dict[str, Work] = {
                name: partial(run_through, loader, place)
                for name, loader in pipelines(Path(folder), names, size, batch_size, workers).items()
            }
            # Ten batches, since a clock of the processor has ticks of 10 ms.
            works["rest"] = lambda batch=batch: [normalize(batch.float().div_(255)) for _ in range(10)]  # type: ignore[misc]
            taken = in_turn(works, repeats, device=device, clock=clock)
            rest = statistics.median(taken.pop("rest")) / (10 * batch_size)
            for name, seconds in taken.items():
                left = rest if EQUAL[name] is not None and name != TORCHVISION else 0.0
                whole = [one + images * left for one in seconds]
                fast, with_rest = (ratio(taken[TORCHVISION], each) for each in (seconds, whole))
                rows.append(Row(size, name, EQUAL[name], ms(seconds) / images, fast, 1000 * left, with_rest))
    return rows


if __name__ == "__main__":
    show(measure)
