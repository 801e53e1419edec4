import copy

import pytest
import torch

from experiments.benchmarks import epoch
from experiments.benchmarks.epoch import Networks, accuracy, measure, ours, theirs
from trg_pyg.data import Digits
from trg_pyg.data.base import ImageSet
from trg_pyg.errors import InputError
from trg_pyg.models.zoo import build_model
from trg_pyg.training.config import TrainConfig

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
CPU = torch.device("cpu")


def small(images=16, workers=0, chunk=2, **options):
    given = {"teacher": "resnet8", "student": "resnet8", "batch_size": 4, "num_classes": 6, "lowered": False}
    return measure(images, workers=workers, chunk=chunk, **given | options)


@pytest.mark.parametrize("data", [None, Digits(imbalance=50)])
def test_a_row_for_each_side(data):
    rows = small(data=data)
    assert [row.side for row in rows] == ["trg_pyg", "public repositories"]
    assert rows[1].times_as_fast == 1
    assert all(row.seconds_an_epoch * row.images_per_second == pytest.approx(50_000) for row in rows)


def test_the_numbers_of_a_row(monkeypatch):
    taken = iter([8.0, 4.0, 3.0, 9.0])  # public, ours; ours, public

    def train(side, batches, device):
        return next(taken) if batches else 0.0

    monkeypatch.setattr(epoch, "_train", train)
    rows = small()
    assert [row.seconds_an_epoch for row in rows] == pytest.approx([50_000 * 3.5 / 8, 50_000 * 8.5 / 8])
    assert [row.images_per_second for row in rows] == pytest.approx([8 / 3.5, 8 / 8.5])
    assert [row.times_as_fast for row in rows] == pytest.approx([2.5, 1.0])


def test_both_sides_learn_the_same_from_the_same_batch(monkeypatch):
    torch.manual_seed(0)
    networks = Networks(build_model("resnet8", 3), build_model("resnet8", 3), MEAN, STD)
    other = copy.deepcopy(networks)
    # Neither crop nor flip, which the sides draw differently: mirrored, the image is the same.
    monkeypatch.setattr(epoch, "_PADDING", 0)
    pixels = torch.randint(256, (1, 3, 32, 1), dtype=torch.uint8).repeat(8, 1, 1, 32)
    train = ImageSet(pixels, torch.full((8,), 1))
    assert list(ours(train, networks, TrainConfig(batch_size=4, channels_last=False), CPU)) == [4, 4]
    assert list(theirs(train, other, 4, 0, CPU)) == [4, 4]
    for mine, yours in zip(networks.student.parameters(), other.student.parameters(), strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-3, atol=1e-5)


def test_accuracies():
    logits = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    first, second = accuracy(logits, torch.tensor([0, 1, 1, 2]), topk=(1, 2))
    assert (first.item(), second.item()) == (25, 75)


def test_too_few_images_are_refused():
    with pytest.raises(
        InputError, match="16 images in batches of 4 are no chunk of 5 batches after 4 that do not count"
    ):
        small(workers=2, chunk=5)
