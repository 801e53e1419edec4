import pytest
import torch
from torch.nn.functional import cross_entropy

from trg_pyg._discover import subclasses
from trg_pyg.batch import Batch
from trg_pyg.data import InstanceSet
from trg_pyg.distillers import CRD, Distiller
from trg_pyg.errors import InputError
from trg_pyg.losses import affinity_loss, pixel_embedding
from trg_pyg.models import Outputs, TappedModel, build_model
from trg_pyg.step import Step
from trg_pyg.tasks import InstanceSegmentation, instances_of
from trg_pyg.training import TrainConfig, evaluate, fit


def squares(images: int = 4, side: int = 16) -> torch.Tensor:
    """Label maps of two touching instances, and of one in the last image."""
    labels = torch.zeros(images, side, side, dtype=torch.int64)
    labels[:, 2:12, 2:8], labels[:, 2:12, 8:14] = 1, 2
    labels[-1] = labels[-1].clamp(max=1)
    return labels


def answers(labels: torch.Tensor) -> torch.Tensor:
    """What a network says that knows the labels."""
    embedding = torch.eye(16)[labels].movedim(-1, 1)
    foreground = (labels > 0).float()
    return torch.cat([torch.stack([1 - foreground, foreground], 1) * 50, embedding], 1)


def step(labels: torch.Tensor, **options) -> Step:
    return Step(labels, 0.0, torch.Generator(), **options)


def batch(labels: torch.Tensor) -> Batch:
    return Batch(None, labels, torch.arange(len(labels)), len(labels))


def test_a_network_that_knows_the_labels_has_the_best_of_all_scores():
    task, labels = InstanceSegmentation(), squares()
    measured = task.measure(Outputs(answers(labels), ()), batch(labels))
    found = task.metrics(measured, labels, {})
    expected = {"sbd": 100, "dic": 0, "voi": 0, "arand": 0, "ap50": 100, "loss": 0}
    assert found == pytest.approx(expected, abs=1e-6)
    assert found["sbd"] == 100


def test_metrics_are_means_over_images_and_precision_is_of_all_instances():
    task, labels = InstanceSegmentation(), squares(2)
    logits = answers(squares(2))
    logits[0, :2] = torch.tensor([50.0, 0.0]).view(2, 1, 1)  # nothing is found in the first image
    found = task.metrics(task.measure(Outputs(logits, ()), batch(labels)), labels, {})
    assert (found["sbd"], found["dic"]) == (50, 1)
    assert found["ap50"] == pytest.approx(100 * 1 / 3)


def test_the_loss_is_that_of_foreground_and_of_affinities():
    logits, labels = torch.randn(3, 18, 16, 16), squares(3)
    parts = InstanceSegmentation().supervised(Outputs(logits, ()), step(labels))
    torch.testing.assert_close(parts["foreground"], cross_entropy(logits[:, :2], (labels > 0).long()))
    torch.testing.assert_close(parts["affinity"], affinity_loss(pixel_embedding(logits), labels).mean())
    measured = InstanceSegmentation().measure(Outputs(logits, ()), batch(labels))["loss"]
    torch.testing.assert_close(measured.mean(), parts["foreground"] + parts["affinity"])


def test_rows_are_pixels():
    logits = torch.randn(2, 18, 3, 5)
    rows = InstanceSegmentation().rows(Outputs(logits, ()), step(torch.zeros(2, 3, 5, dtype=torch.int64)))
    assert torch.equal(rows[15 + 1 * 5 + 2], logits[1, :2, 1, 2])


def test_instances_lie_within_the_foreground():
    logits = answers(squares())
    assert torch.equal(instances_of(logits) > 0, squares() > 0)
    assert instances_of(logits).amax((1, 2)).tolist() == [2, 2, 2, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), r"label maps \(2,\) of type torch.int64 for logits \(2, 18, 4, 4\)"),
        (torch.zeros(2, 4, 5, dtype=torch.int64), r"label maps \(2, 4, 5\)"),
        (torch.zeros(2, 4, 4), "of type torch.float32"),
    ],
)
def test_labels_that_are_no_maps_of_the_images_are_named(labels, message):
    with pytest.raises(InputError, match=message):
        InstanceSegmentation().check_step(Outputs(torch.zeros(2, 18, 4, 4), ()), step(labels))


def test_smoothed_labels_are_refused():
    with pytest.raises(InputError, match=r"Step.smoothing = 0.1: labels of pixels are learnt as they are"):
        InstanceSegmentation().check_step(Outputs(torch.zeros(4, 18, 16, 16), ()), step(squares(), smoothing=0.1))


def pictures(seed: int) -> InstanceSet:
    draws = torch.Generator().manual_seed(seed)
    labels = squares(8)
    noise = torch.randint(40, (8, 3, 16, 16), generator=draws)
    return InstanceSet((noise + 80 * labels[:, None].clamp(max=2)).byte(), labels)


METHODS = [
    cls
    for cls in subclasses(Distiller)
    if cls.__module__.startswith("trg_pyg.") and issubclass(InstanceSegmentation, cls.tasks)
]


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_a_small_network_learns_it(method):
    torch.manual_seed(0)
    taps = [] if method.taps == "none" else method.taps
    student, teacher = (TappedModel(build_model("unet", 2, widths=(4, 6, 8)), taps) for _ in range(2))
    distiller = method(student.describe(16), teacher.describe(16))
    config = TrainConfig(epochs=8, batch_size=4, lr=0.01, optimizer="AdamW", schedule="constant", eval_every=8)
    history = fit(student, teacher, distiller, pictures(0), pictures(1), config)
    assert history[-1]["train/total"] < history[0]["train/total"]
    assert history[-1]["best/sbd"] == history[-1]["test/sbd"]
    assert evaluate(student, pictures(1), 3)["sbd"] == pytest.approx(history[-1]["test/sbd"])


def test_features_are_enough_for_these_methods():
    assert {"Vanilla", "KD", "GRD", "TRG", "SP", "AT", "FitNet"} <= {cls.__name__ for cls in METHODS}


def test_a_method_for_classes_is_refused():
    student, teacher = (TappedModel(build_model("unet", 2, widths=(4, 8))) for _ in range(2))
    distiller = CRD(student.describe(16), teacher.describe(16), negatives=2)
    with pytest.raises(InputError, match="CRD is a method for ImageClassification, and the data are for InstanceSeg"):
        fit(student, teacher, distiller, pictures(0), pictures(1), TrainConfig(epochs=1, batch_size=4, milestones=[]))
