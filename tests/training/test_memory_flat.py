"""A long training needs no more memory than a short one."""

import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import trg_pyg.distillers
from trg_pyg.data.base import ImageSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.models.taps import TappedModel
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.loop import Progress, fit

PAGE = 4096


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(width)
        self.stage = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(width, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage(images).mean(dim=(2, 3)))


def resident() -> float:
    """Memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory where Linux has it")
@pytest.mark.parametrize(
    ("method", "options"),
    [("TRG", {"tokens_per_image": 8, "k": 4}), ("CRD", {"negatives": 16})],
    ids=["TRG", "CRD"],
)
def test_memory_and_tensors_stay_as_many(method, options, tmp_path, monkeypatch) -> None:
    # 8 epochs of 250 steps, with a checkpoint at every look within an epoch.
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1000, 3, 8, 8), generator=generator).to(torch.uint8)
    train = ImageSet(images, torch.arange(1000) % 4)
    student, teacher = TappedModel(Net(8), ["stage"]), TappedModel(Net(10), ["stage"])
    distiller = getattr(trg_pyg.distillers, method)(student.describe(8), teacher.describe(8), **options)
    config = TrainConfig(epochs=8, batch_size=4, schedule="cosine", accumulate=2)
    monkeypatch.setattr("trg_pyg.training.loop._CHECK_EVERY", 100)
    found: dict[int, tuple[float, int]] = {}

    def look(at: Progress) -> None:
        step = (at.epoch - 1) * at.steps + at.step
        # Within an epoch, as many steps after its beginning.
        if step in (600, 1100, 1600, 1850):
            found[step] = resident(), tensors()

    fit(
        *(student, teacher, distiller, train, train.select(torch.arange(100)), config),
        augment=Augment(crop_padding=1, flip=True),
        folder=tmp_path,
        checkpoint_seconds=0.0,
        on_step=look,
    )
    print(method, {step: (round(memory, 2), count) for step, (memory, count) in found.items()})
    assert list(found) == [600, 1100, 1600, 1850]
    memories, counts = zip(*found.values(), strict=True)
    assert len(set(counts)) == 1
    assert memories[-1] - memories[0] < 4
