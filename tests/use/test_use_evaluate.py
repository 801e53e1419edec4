import json
from dataclasses import replace

import pytest
import torch

from trg_pyg.data import ImageFolder
from trg_pyg.data.corruption import Corruption
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.errors import InputError
from trg_pyg.models import Attack
from trg_pyg.training.calibration import calibration
from trg_pyg.training.metrics import evaluate
from trg_pyg.use.evaluate import check_fits, evaluate_on, evaluation_tables, read_images_of
from trg_pyg.use.load import load


@pytest.fixture
def trained(finished_run):
    return load(finished_run)


def data_of(trained, **options):
    root = trained.data.root
    return ImageFolder(str(root), size=16, crop_share=0.8, cache=False, **options)


def test_the_metrics_are_those_of_the_runs_last_epoch(trained, finished_run):
    images = read_images_of(trained.data, None)
    metrics = evaluate_on(trained, images).metrics
    last = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[-1])
    # No class has 20 training images: all of them are few.
    assert set(metrics) == {"top1", "loss", "few", "gmean", "ece"}
    assert {name: metrics[name] for name in ("top1", "few")} == {name: last[f"test/{name}"] for name in ("top1", "few")}
    assert metrics["loss"] == pytest.approx(last["test/loss"], rel=1e-4)

    outputs = trained.network(images.images.images).logits.softmax(dim=1)
    confidence, guess = outputs.max(dim=1)
    assert metrics["ece"] == pytest.approx(
        100 * calibration(confidence, guess == images.images.targets).error, abs=1e-3
    )


@pytest.mark.parametrize(
    ("options", "split", "count", "title"),
    [
        ({}, None, 12, "12 test images"),
        ({}, "test", 12, "12 test images"),
        ({}, "train", 36, "36 training images"),
        ({}, "all", 48, "48 training and test images"),
        ({"validation": 0.25}, None, 9, "9 validation images"),
        ({"validation": 0.25}, "validation", 9, "9 validation images"),
        ({"validation": 0.25}, "test", 12, "12 test images"),
        ({"validation": 0.25}, "train", 27, "27 training images"),
        ({"validation": 0.25}, "all", 48, "48 training and test images"),
        ({"imbalance": 3.0}, "train", 22, "22 training images"),
        ({"heldout": 0.25}, "heldout", 9, "9 held-out images"),
        ({"heldout": 0.25}, "train", 27, "27 training images"),
        ({"heldout": 0.25}, "all", 48, "48 training and test images"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_splits(trained, options, split, count, title, stream):
    data = data_of(trained, stream=stream, **options)
    images = read_images_of(data, split)
    assert isinstance(images.images, FileSet) == stream
    assert len(images.images) == count
    assert f", {title} of 16x16, 3 classes" in images.title
    assert bool(images.shots) == ("imbalance" in options)
    assert data.validation == options.get("validation")
    assert len(images.images.targets.unique()) == 3


@pytest.mark.parametrize("split", ["validation", "heldout"])
def test_images_that_are_asked_for_have_to_be_held_out(split, trained):
    with pytest.raises(InputError, match=f"--split {split}: nothing is held out of these data"):
        read_images_of(data_of(trained), split)


def test_corrupted_images_are_those_of_the_set_whatever_the_batch(trained):
    images = read_images_of(data_of(trained), None)
    corruptions = [Corruption("gaussian_noise", 5), Corruption("contrast", 1), Corruption("contrast", 4)]
    evaluation = evaluate_on(trained, images, corruptions, batch_size=5)
    assert {name: list(by) for name, by in evaluation.corrupted.items()} == {"gaussian_noise": [5], "contrast": [1, 4]}
    for corruption in corruptions:
        changed = replace(images.images, images=corruption(images.images.images))
        expected = evaluate(trained.network, changed, 12)
        measured = evaluation.corrupted[corruption.name][corruption.severity]
        assert measured["top1"] == expected["top1"]
        assert measured["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    shares = [by["top1"] for kind in evaluation.corrupted.values() for by in kind.values()]
    assert evaluation.metrics["corrupted_top1"] == pytest.approx(sum(shares) / 3)
    # Nothing stays on the network.
    assert evaluate_on(trained, images).metrics["top1"] == evaluation.metrics["top1"]


def test_streamed_images_are_corrupted_alike(trained):
    sets = [read_images_of(data_of(trained, stream=stream, mean=(0.5,) * 3, std=(0.2,) * 3), None) for stream in (0, 1)]
    memory, stream = (evaluate_on(trained, images, [Corruption("shot_noise", 5)], batch_size=4) for images in sets)
    assert memory.metrics == stream.metrics
    assert memory.corrupted == stream.corrupted


def under_attack(trained, batch_size=256, stream=False, **options):
    images = read_images_of(data_of(trained, stream=stream, mean=(0.5,) * 3, std=(0.2,) * 3), "all")
    metrics = evaluate_on(trained, images, batch_size=batch_size, attack=Attack(**options)).metrics
    return metrics["top1"], metrics["robust_top1"], metrics["ece"], metrics["robust_ece"]


def test_a_tiny_attack_changes_nothing(trained):
    top1, robust, ece, robust_ece = under_attack(trained, steps=3, eps=1e-7)
    assert robust == top1
    assert robust_ece == pytest.approx(ece, abs=1e-3)


def test_harder_attacks_find_more(trained):
    by_steps = [under_attack(trained, steps=steps, eps=0.05)[1] for steps in (1, 3, 20)]
    one_image = 100 / 48
    assert by_steps[0] >= by_steps[1] - one_image >= by_steps[2] - 2 * one_image
    by_eps = [under_attack(trained, steps=5, eps=eps)[1] for eps in (0.01, 0.1, 0.5)]
    assert by_eps == sorted(by_eps, reverse=True)
    assert by_eps[-1] < under_attack(trained, steps=5)[0]


def test_an_attack_is_the_same_whatever_the_batch(trained):
    whole = under_attack(trained, steps=3, eps=0.03, restarts=2)
    assert whole == under_attack(trained, steps=3, eps=0.03, restarts=2)
    for others in ({"batch_size": 7}, {"stream": True}):
        assert under_attack(trained, steps=3, eps=0.03, restarts=2, **others) == pytest.approx(whole, abs=1e-3)
    assert whole[3] != under_attack(trained, steps=3, eps=0.03, restarts=2, seed=1)[3]


def test_other_images_are_refused(trained):
    images = read_images_of(data_of(trained), None)
    check_fits(trained, images)
    for facts, message in (
        (replace(images.facts, classes=("blue", "green", "pink")), "they lack red and have besides pink; give data of"),
        (replace(images.facts, classes=("blue", "green")), "3 classes, the data have 2: they lack red; give data of"),
        (
            replace(images.facts, classes=("red", "green", "blue")),
            "the same classes in another order, red, green, blue",
        ),
    ):
        with pytest.raises(InputError, match=message):
            check_fits(trained, replace(images, facts=facts))
    small = read_images_of(ImageFolder(str(trained.data.root), size=8, cache=False), None)
    with pytest.raises(InputError, match=r"takes images of 16x16, the data have 8x8; set --data.size 16"):
        check_fits(trained, small)


def test_outputs_that_are_not_finite_are_refused(trained):
    next(trained.network.model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="its outputs are not finite"):
        evaluate_on(trained, read_images_of(data_of(trained), None))


def cells(table):
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def test_a_table_for_each_set_of_images_and_one_of_corruptions(trained):
    test, train = (read_images_of(data_of(trained), split) for split in ("test", "train"))
    corruptions = [Corruption(name, severity) for name in ("contrast", "pixelate") for severity in (1, 5)]
    evaluations = [evaluate_on(trained, test, corruptions), evaluate_on(trained, train), evaluate_on(trained, test)]
    parts = evaluation_tables(evaluations).split("\n\n")
    assert parts[::2] == [test.title, train.title, f"top-1 on corrupted images by severity, {trained.path}"]
    of_test, of_train, corrupted = map(cells, parts[1::2])
    assert of_test[0] == [*("network", "method", "seed", "weights", "top-1", "loss", "ECE", "corrupted"), "checkpoint"]
    first = evaluations[0].metrics
    shown = [f"{first['top1']:.2f}", f"{first['loss']:.3f}", f"{first['ece']:.2f}"]
    about = ["resnet8", "KD", "0", "last, epoch 2"]
    assert of_test[2] == [*about, *shown, f"{first['corrupted_top1']:.2f}", str(trained.path)]
    assert of_test[3] == [*about, *shown, "", str(trained.path)]
    assert len(of_train) == 3
    assert corrupted[0] == ["corruption", "1", "5", "mean"]
    by = evaluations[0].corrupted
    tops = [by["contrast"][severity]["top1"] for severity in (1, 5)]
    assert corrupted[2] == ["contrast", *(f"{top:.2f}" for top in (*tops, sum(tops) / 2))]
    assert corrupted[4][0] == "mean"
    assert corrupted[4][3] == f"{first['corrupted_top1']:.2f}"
