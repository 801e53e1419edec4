"""A training whose labels are no classes, by a task that is written here."""

from typing import ClassVar

import pytest
import torch
from torch.nn.functional import mse_loss

from trg_pyg import metrics
from trg_pyg.data import ImageSet
from trg_pyg.distillers import KD, SP, Vanilla
from trg_pyg.errors import InputError, require
from trg_pyg.metrics import Metric, score_of
from trg_pyg.tasks import Task
from trg_pyg.training import TrainConfig, evaluate, fit


class Brightness(Task):
    """Three numbers an image; the error counts, and less is better."""

    score = "error"

    def check_step(self, outputs, step):
        require(step.target.shape == step.labelled(outputs.logits).shape, "three numbers an image")

    def supervised(self, outputs, step):
        return {"square": mse_loss(step.labelled(outputs.logits), step.target)}

    def rows(self, outputs, step):
        raise InputError("numbers have no logits: leave kd_weight out")

    def running(self, outputs, batch):
        return {"error": (outputs.logits - batch.target).abs().mean()}

    def check_set(self, outputs, targets, groups):
        pass

    def measure(self, outputs, batch):
        return {"error": (outputs.logits - batch.target).abs()}

    def metrics(self, measured, targets, groups):
        error = measured["error"].mean().item()
        return {"error": error, "loss": error}


class Measured(ImageSet):
    task: ClassVar[Task] = Brightness()


def measured(seed: int) -> Measured:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (24, 3, 1, 1), generator=draws).expand(-1, -1, 6, 6).contiguous().byte()
    return Measured(images, images[:, :, 0, 0].float() / 255)


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, Metric("test/error", "error", "", "lower", "score")))


def trained(network, method, **options):
    student, teacher = network(0), network(1)
    distiller = method(student.describe(6), teacher.describe(6), **options)
    config = TrainConfig(epochs=6, batch_size=8, lr=0.003, schedule="constant")
    return student, fit(student, teacher, distiller, measured(0), measured(1), config)


@pytest.mark.parametrize("method", [Vanilla, SP])
def test_the_loss_the_score_and_the_best_epoch_are_those_of_the_task(network, method):
    student, history = trained(network, method)
    errors = [epoch["test/error"] for epoch in history]
    assert history[-1]["train/square"] < history[0]["train/square"]
    assert history[-1]["best/error"] == min(errors)
    assert history[-1]["best/epoch"] == 1 + errors.index(min(errors))
    assert score_of(history).title == "error"
    assert evaluate(student, measured(1), 5)["error"] == pytest.approx(errors[-1])
    assert not any("top1" in name for epoch in history for name in epoch)


def test_what_the_task_does_not_have_is_refused_by_it(network):
    with pytest.raises(InputError, match="numbers have no logits"):
        trained(network, KD)
