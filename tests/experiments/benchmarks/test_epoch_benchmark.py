import copy

import pytest
import torch

from experiments.benchmarks import epoch
from experiments.benchmarks.epoch import Networks, OurStep, accuracy, main, measure, ours, theirs
from trg_pyg.data.base import ImageSet
from trg_pyg.errors import InputError
from trg_pyg.models.zoo import build_model
from trg_pyg.training.config import TrainConfig

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
CPU = torch.device("cpu")


def images(count: int) -> ImageSet:
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels, torch.arange(count) % 3)


def test_a_row_for_each_side(capsys):
    main(
        images=16, teacher="resnet8", student="resnet8", batch_size=4, workers=0, chunk=2, num_classes=6, lowered=False
    )
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| ")
    ]
    assert [row[0] for row in rows] == ["side", "trg_pyg", "public repositories"]
    assert rows[2][3] == "1.000"
    for row in rows[1:]:
        assert float(row[1]) * float(row[2]) == pytest.approx(50_000, rel=0.03)


def test_the_numbers_of_a_row(monkeypatch):
    taken = iter([8.0, 4.0, 3.0, 9.0])  # public, ours; ours, public

    def train(side, batches, device):
        return next(taken) if batches else 0.0

    monkeypatch.setattr(epoch, "_train", train)
    rows = measure(images(16), MEAN, STD, 3, teacher="resnet8", student="resnet8", batch_size=4, workers=0, chunk=2)
    assert [row.side for row in rows] == ["trg_pyg", "public repositories"]
    assert [row.seconds_an_epoch for row in rows] == pytest.approx([50_000 * 3.5 / 8, 50_000 * 8.5 / 8])
    assert [row.images_per_second for row in rows] == pytest.approx([8 / 3.5, 8 / 8.5])
    assert [row.times_as_fast for row in rows] == pytest.approx([2.5, 1.0])


def test_both_sides_learn_the_same_from_the_same_batch(monkeypatch):
    torch.manual_seed(0)
    networks = Networks(build_model("resnet8", 3), build_model("resnet8", 3), MEAN, STD)
    other = copy.deepcopy(networks)
    train = ImageSet(images(1).images.expand(8, -1, -1, -1).clone(), torch.full((8,), 1))
    # Neither crop nor flip, which the sides draw differently.
    monkeypatch.setattr(epoch, "_PADDING", 0)
    train.images[:] = train.images[..., :1]  # mirrored it is the same
    assert list(ours(train, networks, 4, CPU, OurStep(TrainConfig(channels_last=False)))) == [4, 4]
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
        measure(images(16), MEAN, STD, 3, batch_size=4, workers=2, chunk=5)
