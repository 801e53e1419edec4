"""A batch that is computed in parts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trained import without_clock

from trg_pyg.distillers import KD
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.step import Step
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.loop import fit


class Smooth(nn.Module):
    """Neither batch statistics nor dropout: what an image gives depends on it alone, and in float64 to the bit."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh())
        self.head = nn.Linear(6, 3)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images.double()).mean(dim=(2, 3)))


class Counts(Distiller):
    """Logs how many images it was given at once."""

    needs_teacher = False

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.seen: list[int] = []

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        self.seen.append(len(step.target))
        count = torch.tensor(float(len(step.target)))
        return self.weigh({"images": (1.0, count), "ce": (1.0, nn.functional.cross_entropy(student[0], step.target))})


class Needs(Counts):
    min_images = 3


@pytest.fixture
def train(train_set, test_set):
    def train(distiller: Distiller | None = None, **options: Any) -> Any:
        student, teacher = TappedModel(Smooth(0), ["body"]), TappedModel(Smooth(1), ["body"])
        kd = KD(student.describe(6), teacher.describe(6), kd_weight=2.0)
        on_step = options.pop("on_step", None)
        config = TrainConfig(**{"epochs": 3, "batch_size": 8, "lr": 0.1, "schedule": "cosine"} | options)
        history = fit(student, teacher, distiller or kd, train_set, test_set, config, on_step=on_step)
        return history, student.state_dict()

    return train


def check_close(found: Any, expected: Any) -> None:
    for one, other in zip(without_clock(found[0]), without_clock(expected[0]), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"grad_clip": 0.05}, {"optimizer": "AdamW", "lr": 0.01}], ids=str)
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_parts_of_unequal_size_give_the_step_of_the_whole_batch(train, parts, options) -> None:
    # 22 images in batches of 8, 8, 6: parts of 3, 3, 2; or of 2, 2, 1, 1, 1, 1.
    whole = train(**options)
    assert whole[0][-1]["train/total"] < whole[0][0]["train/total"]
    check_close(train(accumulate=parts, **options), whole)


def test_there_is_one_step_a_batch_and_means_are_over_images(train) -> None:
    counts, steps = Counts(), []
    history, _ = train(counts, accumulate=3, epochs=1, on_step=lambda at: steps.append((at.step, at.steps)))
    assert counts.seen == [3, 3, 2, 3, 3, 2, 2, 2, 2]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert history[0]["train/images"] == pytest.approx(sum(n * n for n in counts.seen) / 22)
    assert history[0]["train/total"] == pytest.approx(history[0]["train/images"] + history[0]["train/ce"])


def test_a_batch_of_too_few_images_for_its_parts_is_refused_before_training(train) -> None:
    counts = Counts()
    with pytest.raises(InputError, match=r"batch_size = 7 leaves a batch of 1 of 22 .*train.accumulate = 3 parts"):
        train(counts, batch_size=7, accumulate=3)
    with pytest.raises(InputError, match=r"batch_size = 8 leaves a batch of \d of 22 .*train.accumulate = 9 parts"):
        train(counts, accumulate=9)
    assert counts.seen == []


def test_a_method_is_asked_whether_a_part_is_enough(train) -> None:
    needs = Needs()
    text = r"leaves a part \(train.accumulate = 3, 1 processes, global losses\) of 2 of 22 .* Needs needs 3 images"
    with pytest.raises(InputError, match=text):
        train(needs, accumulate=3)
    assert needs.seen == []
    train(needs, accumulate=2, epochs=1)
    assert min(needs.seen) == 3
