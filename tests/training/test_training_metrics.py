import math

import pytest
import torch
from torch import Tensor, nn

from trg_pyg.data.base import ImageSet
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs
from trg_pyg.training.metrics import evaluate


class Table(nn.Module):
    """Reads the row of logits that the first pixel of each image names."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)
        self.frozen = nn.BatchNorm1d(1).eval()
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Outputs:
        self.modes.append(self.training)
        return Outputs(self.logits[images[:, 0, 0, 0].long()], ())


def numbered(targets: list[int]) -> ImageSet:
    rows = torch.arange(len(targets), dtype=torch.uint8)[:, None, None, None]
    return ImageSet(rows.expand(-1, 3, 1, 1), torch.tensor(targets))


def test_top1_and_loss_over_uneven_batches() -> None:
    model = Table([[0.0, 0.0], [0.0, math.log(3)], [math.log(3), 0.0]])
    metrics = evaluate(model, numbered([0, 1, 1]), batch_size=2)
    expected = (math.log(2) + math.log(4 / 3) + math.log(4)) / 3
    assert metrics == pytest.approx({"top1": 200 / 3, "loss": expected})


def test_top5_where_there_are_more_than_5_classes() -> None:
    model = Table([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]] * 4)
    metrics = evaluate(model, numbered([0, 4, 5, 5]), batch_size=4)
    assert (metrics["top1"], metrics["top5"]) == (25.0, 50.0)


def test_groups_are_means_over_classes_not_images() -> None:
    model = Table([[1.0, 0.0, 0.0, 0.0]] * 4 + [[0.0, 1.0, 0.0, 0.0]])
    images = numbered([0, 1, 1, 2, 1])  # right: class 0 1 of 1, class 1 1 of 3, class 2 0 of 1; no image of class 3
    metrics = evaluate(model, images, 2, shots={"many": [0, 1], "medium": [2, 3], "few": [], "none": [3]})
    groups = {name: metrics[name] for name in metrics if name not in ("top1", "loss", "gmean")}
    assert groups == pytest.approx({"many": 100 * (1 + 1 / 3) / 2, "medium": 0.0})


def test_the_geometric_mean_is_over_all_classes_that_are_tested() -> None:
    model = Table([[1.0, 0.0, 0.0, 0.0]] * 4 + [[0.0, 1.0, 0.0, 0.0]])
    images = numbered([0, 1, 1, 2, 1])  # right: class 0 all, class 1 a third, class 2 none; no image of class 3
    metrics = evaluate(model, images, 2, shots={"many": [0]})
    assert metrics["gmean"] == pytest.approx(100 * (1 * 1 / 3 * 0.001) ** (1 / 3))


def test_every_module_gets_its_mode_back() -> None:
    model = Table([[1.0, 0.0]]).train()
    model.frozen.eval()
    evaluate(model, numbered([0]), 1)
    assert (model.modes, model.training, model.frozen.training) == ([False], True, False)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_reports_a_float32_loss(network, test_set, precision) -> None:
    full, low = evaluate(network(0), test_set, 4), evaluate(network(0), test_set, 4, precision=precision)
    assert low["loss"] == pytest.approx(full["loss"], rel=0.02)


@pytest.mark.parametrize(
    ("targets", "shots", "message"),
    [
        ([], None, "the test set has 0 images"),
        ([2], None, "class 2 in the test set: the model has 2 classes; build it for 3 or more"),
        ([1], {"few": [0, 7]}, r"class 7 in shots\['few'\]: the model has 2 classes"),
    ],
)
def test_refuses(targets, shots, message) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(Table([[1.0, 0.0]]), numbered(targets), 1, shots)
