import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet as TorchvisionRetinaNet

from trg_pyg._discover import subclasses
from trg_pyg.batch import Batch
from trg_pyg.data import DetectionSet, padded
from trg_pyg.distillers import CRD, KD, LSKD, TRG, Distiller, TRGPaper
from trg_pyg.errors import InputError
from trg_pyg.models import Outputs, TappedModel, build_model
from trg_pyg.step import Step
from trg_pyg.tasks import Detection, average_precision, boxes_of
from trg_pyg.tasks.detection import check_scorer
from trg_pyg.training import TrainConfig, evaluate, fit

SURE = 20.0


def step(boxes: torch.Tensor, **options) -> Step:
    return Step(boxes, 0.0, torch.Generator(), **options)


def box(left: float, top: float, right: float, bottom: float, label: int = 0, passed_over: int = 0) -> list[float]:
    return [left, top, right, bottom, label, passed_over]


def boxes(*images: list[list[float]]) -> torch.Tensor:
    return padded([torch.tensor(each).reshape(-1, 6) for each in images])


def answers(targets: torch.Tensor, classes: int = 2) -> torch.Tensor:
    """What a network says that has an anchor on each box, and knows the labels."""
    scores = torch.full((*targets.shape[:2], classes), -SURE)
    there = targets[..., 4] >= 0
    scores[there, targets[..., 4][there].long()] = SURE
    return torch.cat([scores, torch.zeros_like(targets[..., :4]), targets[..., :4]], 2).mT


def found(*images: list[list[float]]) -> torch.Tensor:
    """Boxes that were found: the last number is the score."""
    return boxes(*images)


TWO = boxes([box(0.1, 0.1, 0.4, 0.5), box(0.5, 0.5, 0.9, 0.9, label=1)], [box(0.2, 0.3, 0.8, 0.7)])


def test_a_network_that_knows_the_boxes_has_the_best_of_all_scores():
    task = Detection()
    measured = task.measure(Outputs(answers(TWO), ()), Batch(None, TWO, torch.arange(2), 2))
    scores = task.metrics(measured, TWO, {})
    assert scores == pytest.approx({"ap": 100, "ap50": 100, "ap75": 100, "ap_medium": 100, "loss": 0}, abs=1e-6)


def test_average_precision_is_that_of_three_boxes_by_hand():
    """Of two boxes the surest answer hits the first, the next nothing, the last the second, but by 0.6 alone.

    Precision at the recalls up to a half is 1, and above it 2/3 for the overlaps of 0.5, 0.55 and 0.6, else 0: of the
    101 recalls from 0 to 1, 51 are up to a half.
    """
    truth = boxes([box(0, 0, 0.5, 0.5), box(0.5, 0.5, 1, 1)])
    hits = [box(0, 0, 0.5, 0.5, 0, 0.9), box(0.6, 0, 0.9, 0.2, 0, 0.8), box(0.5, 0.5, 0.8005, 1, 0, 0.7)]
    scores = average_precision(torch.tensor([hits]).float(), truth)
    half, all_of_it = 51 / 101, (51 + 50 * 2 / 3) / 101
    wanted = {"ap": (3 * all_of_it + 7 * half) / 10, "ap50": all_of_it, "ap75": half}
    assert {name: scores[name] for name in wanted} == pytest.approx({k: 100 * v for k, v in wanted.items()})


def test_sizes_are_shares_of_the_side_of_the_image():
    side = {"ap_small": 0.16, "ap_medium": 0.17, "ap_large": 0.51}
    for name, share in side.items():
        truth = boxes([box(0.2, 0.2, 0.2 + share, 0.2 + share)])
        hit = found([box(0.2, 0.2, 0.2 + share, 0.2 + share, 0, 0.9)])
        assert {each for each in average_precision(hit, truth) if each in side} == {name}


def test_what_is_found_in_a_box_that_is_passed_over_is_neither_right_nor_wrong():
    truth = boxes([box(0, 0, 0.3, 0.3), box(0.5, 0.5, 1, 1, passed_over=1)])
    right, there = box(0, 0, 0.3, 0.3, 0, 0.6), box(0.6, 0.6, 0.9, 0.9, 0, 0.9)
    assert average_precision(found([right, there]), truth)["ap"] == pytest.approx(100)
    truth[0, 1, 5], truth[0, 1, :4] = 0, torch.tensor([0.5, 0, 1, 0.3])
    assert average_precision(found([right, there]), truth)["ap"] < 50


def test_nothing_found_is_a_score_of_zero():
    assert average_precision(found([], []), TWO)["ap"] == 0


def test_boxes_of_one_class_that_overlap_by_more_than_half_are_one():
    near = boxes([box(0, 0, 0.5, 0.5), box(0, 0, 0.5, 0.45), box(0, 0, 0.5, 0.45, label=1)])
    logits = answers(near)
    logits[0, 0, 1] = 1.0
    chosen = boxes_of(logits)
    assert chosen.shape == (1, 100, 6)
    assert [each[4].item() for each in chosen[0, :3]] == [0, 1, -1]
    assert chosen[0, 2:, 5].unique().tolist() == [0]


def test_losses_are_those_of_torchvision_in_pixels():
    torch.manual_seed(0)
    network = build_model("retinanet", 3, channels=8).eval()
    targets = boxes([box(0.1, 0.2, 0.4, 0.6, 2), box(0.5, 0.5, 0.7, 0.8)], [], [box(0, 0, 1, 1, 1)])
    logits = network(torch.rand(3, 3, 32, 64))
    sides = torch.tensor([64.0, 32, 64, 32])
    backbone = torch.nn.Module()
    backbone.out_channels = 8
    theirs = TorchvisionRetinaNet(backbone, 3, anchor_generator=AnchorGenerator(((1,),), ((1.0,),)))
    told = [{"boxes": each[each[:, 4] >= 0, :4] * sides, "labels": each[each[:, 4] >= 0, 4].long()} for each in targets]
    parts = {"cls_logits": logits[:, :3].mT, "bbox_regression": logits[:, 3:7].mT}
    wanted = theirs.compute_loss(told, parts, list(logits[:, 7:].mT * sides))
    losses = Detection().supervised(Outputs(logits, ()), step(targets))
    torch.testing.assert_close(losses["classification"], wanted["classification"])
    torch.testing.assert_close(losses["box"], wanted["bbox_regression"])
    measured = Detection().measure(Outputs(logits, ()), Batch(None, targets, torch.arange(3), 3))["loss"]
    torch.testing.assert_close(measured.mean(), losses["classification"] + losses["box"])


def test_what_is_passed_over_is_not_learnt():
    network = build_model("retinanet", 2, channels=8).eval()
    logits = network(torch.rand(1, 3, 32, 32))
    none, crowd = boxes([]), boxes([box(0.1, 0.2, 0.4, 0.6, passed_over=1)])
    losses = [Detection().supervised(Outputs(logits, ()), step(each)) for each in (none, crowd)]
    assert losses[0] == losses[1]
    assert losses[0]["box"] == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), r"boxes \(2,\) of type torch.int64 for logits \(2, 10, 9\)"),
        (torch.zeros(2, 3, 5), r"boxes \(2, 3, 5\)"),
        (torch.zeros(3, 1, 6), r"boxes \(3, 1, 6\)"),
    ],
)
def test_labels_that_are_no_boxes_of_the_images_are_named(labels, message):
    with pytest.raises(InputError, match=message):
        Detection().check_step(Outputs(torch.zeros(2, 10, 9), ()), step(labels))


def test_smoothed_labels_are_refused():
    with pytest.raises(InputError, match=r"Step.smoothing = 0.1: labels of boxes are learnt as they are"):
        Detection().check_step(Outputs(torch.zeros(2, 10, 9), ()), step(TWO, smoothing=0.1))


def test_images_without_any_box_cannot_be_evaluated_on():
    with pytest.raises(InputError, match="the images to evaluate on have no box at all"):
        Detection().check_set(Outputs(torch.zeros(2, 10, 9), ()), boxes([], []), {})


def test_the_extra_that_is_needed_is_named(monkeypatch):
    monkeypatch.setattr("trg_pyg.tasks.detection.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'trg_pyg\[detection\]'"):
        check_scorer()


def pictures(seed: int) -> DetectionSet:
    """A bright square in the dark, of two classes by its brightness."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(40, (8, 3, 32, 32), generator=draws)
    rows = []
    for number, image in enumerate(images):
        top, left = torch.randint(16, (2,), generator=draws).tolist()
        image[:, top : top + 12, left : left + 12] += 80 + 80 * (number % 2)
        rows.append(torch.tensor([box(left / 32, top / 32, (left + 12) / 32, (top + 12) / 32, number % 2)]))
    return DetectionSet(images.byte(), padded(rows))


METHODS = [
    cls
    for cls in subclasses(Distiller)
    if cls.__module__.startswith("trg_pyg.") and issubclass(Detection, cls.tasks) and cls not in (KD, LSKD)
]


def network(taps) -> TappedModel:
    return TappedModel(build_model("retinanet", 2, stages=1, channels=8), taps)


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_a_small_network_learns_it(method):
    torch.manual_seed(0)
    taps = [] if method.taps == "none" else method.taps
    student, teacher = network(taps), network(taps)
    options = {"kd_weight": 0} if method in (TRG, TRGPaper) else {}  # which distil logits too by default
    distiller = method(student.describe(32), teacher.describe(32), **options)
    config = TrainConfig(epochs=4, batch_size=4, lr=0.003, optimizer="AdamW", schedule="constant", eval_every=4)
    history = fit(student, teacher, distiller, pictures(0), pictures(1), config)
    assert history[-1]["train/total"] < history[0]["train/total"]
    assert history[-1]["best/ap"] == history[-1]["test/ap"]
    assert evaluate(student, pictures(1), 3)["ap"] == pytest.approx(history[-1]["test/ap"])


def test_features_are_enough_for_these_methods():
    assert {"Vanilla", "FGD", "IKD", "TRG", "SP", "AT", "FitNet"} <= {cls.__name__ for cls in METHODS}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (KD, "logits of a detector are compared with background one by one"),
        (CRD, "CRD is a method for ImageClassification, and the data are for Detection"),
    ],
)
def test_a_method_for_classes_is_refused(method, message):
    student, teacher = network(None), network(None)
    distiller = method(student.describe(32), teacher.describe(32))
    with pytest.raises(InputError, match=message):
        fit(student, teacher, distiller, pictures(0), pictures(1), TrainConfig(epochs=1, batch_size=4, milestones=[]))
