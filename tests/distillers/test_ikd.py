"""Inconsistent knowledge: what is made of images and boxes, the teacher misled, and the parts that follow."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trg_pyg.data import DetectionSet, PastedDigits
from trg_pyg.distillers import IKD, Vanilla
from trg_pyg.distillers.ikd import _resized
from trg_pyg.errors import InputError
from trg_pyg.models import Networks, TappedModel, build_model
from trg_pyg.models.taps import Outputs
from trg_pyg.step import Step
from trg_pyg.tasks import Detection
from trg_pyg.training import TrainConfig, fit

SIDE = 40


@pytest.fixture(scope="module")
def scenes() -> DetectionSet:
    return PastedDigits().load().train.select(torch.arange(8))


def networks(side: int = SIDE, classes: int = 3) -> tuple[Networks, list]:
    torch.manual_seed(0)
    both = [TappedModel(build_model("retinanet", classes, stages=1, channels=8), "stages") for _ in range(2)]
    infos = [network.describe(side) for network in both]
    return Networks(both[0], both[1].eval()), infos


def made(side: int = SIDE, **options) -> tuple[IKD, Networks]:
    both, infos = networks(side)
    distiller = IKD(*infos, **options)
    distiller.learn(Detection())
    return distiller, both


def step(boxes: Tensor, both: Networks | None = None, seed: int = 0, progress: float = 0.0) -> Step:
    return Step(boxes, progress, torch.Generator().manual_seed(seed), torch.arange(len(boxes)), both)


def drawn(boxes: list[list[float]], images: int = 60) -> tuple[Tensor, Tensor]:
    """Black images with boxes filled with white."""
    pixels = torch.zeros(images, 3, SIDE, SIDE, dtype=torch.uint8)
    for left, top, right, bottom in boxes:
        pixels[:, :, round(top * SIDE) : round(bottom * SIDE), round(left * SIDE) : round(right * SIDE)] = 255
    rows = torch.tensor([[*box, 0, 0] for box in boxes]).reshape(-1, 6)
    return pixels, rows.expand(images, -1, -1).clone()


def seen(distiller: IKD, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The augmented images and their boxes."""
    (views,) = distiller.views(images, step(boxes))
    assert distiller._seen is not None
    assert torch.equal(views, distiller._seen[0])
    return distiller._seen


def test_images_of_small_boxes_get_noise_three_times_in_ten_and_are_never_cropped():
    images, boxes = drawn([[0.5, 0.5, 0.65, 0.65]], images=400)
    views, after = seen(made()[0], images, boxes)
    assert torch.equal(after, boxes)
    noisy = (views != images.float() / 255).flatten(1).any(1)
    assert 0.23 < noisy.float().mean() < 0.37
    # Black pixels keep the upper half of the noise.
    off = views[noisy][:, :, :10]
    assert (off == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    assert off[off > 0].square().mean().sqrt().item() == pytest.approx(0.08, rel=0.02)


def test_images_with_a_larger_box_are_cropped_with_their_boxes():
    images, boxes = drawn([[0.4, 0.35, 0.75, 0.6], [0.05, 0.05, 0.1, 0.1]])
    views, after = seen(made()[0], images, boxes)
    assert not torch.equal(views[0], views[1])
    grown = (after[:, 0, 2:4] - after[:, 0, :2]) / (boxes[:, 0, 2:4] - boxes[:, 0, :2])
    assert grown.min() >= 1 - 1e-5
    assert grown.max() <= 1.25 + 1e-5
    for image, rows in zip(views, after, strict=True):
        big = image[0].clone()
        big[: SIDE // 4, : SIDE // 4] = 0  # the other box
        lines = [(big > 0.5).any(axis).nonzero().flatten() for axis in (0, 1)]
        found = [each / SIDE for each in (lines[0][0], lines[1][0], lines[0][-1] + 1, lines[1][-1] + 1)]
        torch.testing.assert_close(torch.stack(found), rows[0, :4], atol=0.6 / SIDE, rtol=0)


def test_boxes_that_a_crop_leaves_nothing_of_are_dropped():
    images, boxes = drawn([[0.3, 0.3, 0.7, 0.7], [0.0, 0.0, 0.02, 0.02]], images=200)
    _, after = seen(made()[0], images, boxes)
    lost = after[:, 1, 4] == -1
    assert 0 < lost.sum() < 200
    kept = after[~lost, 1, :4]
    assert (kept[:, 2:] > kept[:, :2]).all()
    assert (after[:, 0, 4] == 0).all()


def test_a_crop_that_would_leave_no_box_is_not_taken_and_none_without_boxes():
    images, boxes = drawn([[0.0, 0.0, 0.19, 0.19]])
    _, after = seen(made()[0], images, boxes)
    assert (after[..., 4] == 0).all()
    nothing = torch.tensor([0.0, 0, 0, 0, -1, 0]).expand(60, 1, 6)
    views, after = seen(made()[0], images, nothing)
    assert torch.equal(views, images.float() / 255)
    assert torch.equal(after, nothing)


def test_without_augmentation_images_and_boxes_stay():
    images, boxes = drawn([[0.4, 0.35, 0.75, 0.6]])
    views, after = seen(made(augment=False)[0], images, boxes)
    assert torch.equal(views, images.float() / 255)
    assert torch.equal(after, boxes)


def test_an_image_is_augmented_alike_in_any_part_of_a_batch():
    images, boxes = drawn([[0.4, 0.35, 0.75, 0.6]], images=4)
    whole, _ = seen(made()[0], images, boxes)
    told = replace(step(boxes[2:]), index=torch.arange(2, 4))
    (part,) = made()[0].views(images[2:], told)
    assert torch.equal(part, whole[2:])


def test_misleading_images_are_near_in_range_and_raise_the_loss_of_nearly_all(scenes):
    distiller, both = made(64)
    teacher = both._teacher
    config = TrainConfig(epochs=6, batch_size=4, lr=0.003, optimizer="AdamW", schedule="constant", eval_every=6)
    fit(teacher, None, Vanilla(teacher.describe(64), None), scenes, scenes, config)
    teacher.eval().requires_grad_(False)
    images, boxes = scenes.images.float() / 255, scenes.targets
    attacked = distiller.misleading(both, images, step(boxes))
    assert (attacked - images).abs().max() <= 8 / 255 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    levels = attacked * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)

    def losses(of: Tensor) -> Tensor:
        found = []
        for image, rows in zip(of, boxes, strict=True):
            outputs = Outputs(teacher(image[None]).logits, ())
            found.append(Detection().supervised(outputs, step(rows[None]))["classification"])
        return torch.stack(found)

    assert (losses(attacked) > losses(images)).float().mean() > 0.9


def test_a_resized_image_has_its_boxes_where_they_are():
    images, boxes = drawn([[0.4, 0.3, 0.8, 0.6]], images=1)
    small, after = _resized(images.float() / 255, boxes, 0.5)
    assert small.shape == images.shape
    rows, columns = (small[0, 0] > 0.5).nonzero().unbind(1)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    torch.testing.assert_close(torch.stack(found) / SIDE, after[0, 0, :4], atol=0.6 / SIDE, rtol=0)
    assert after[0, 0, 4:].tolist() == [0, 0]
    assert (small[:, :, 39:] == 0).all()


def parts(distiller: IKD, both: Networks, progress: float = 0.0) -> dict[str, tuple[float, Tensor]]:
    images, boxes = drawn([[0.4, 0.35, 0.75, 0.6]], images=2)
    told = step(boxes, both, progress=progress)
    inputs, rows = distiller.see(images, told)
    outputs = [network(inputs).in_float32() for network in (both._student, both._teacher)]
    return distiller.weighted_parts(*outputs, replace(told, rows=rows))


def test_the_part_of_misleading_images_is_the_equation_and_leaves_statistics_alone():
    distiller, both = made(adversarial_weight=1e-5)
    images, boxes = drawn([[0.4, 0.35, 0.75, 0.6]], images=2)
    before = {name: each.clone() for name, each in both._student.named_buffers()}
    attacked = distiller.misleading(both, images.float() / 255, step(boxes))
    weight, value = distiller._of_misleading(both, images.float() / 255, step(boxes))
    student, teacher = both.student(attacked), both.teacher(attacked)
    wanted = torch.zeros(())
    cells, channels = 100 * 100 / (SIDE // 4) ** 2, 256 / 8
    for own, goal in zip(student.features, teacher.features, strict=True):
        wanted = wanted + cells * channels * ((own - goal) ** 2).sum() / 2
    assert weight == 1e-5
    torch.testing.assert_close(value, wanted)
    assert all(torch.equal(each, before[name]) for name, each in both._student.named_buffers())


def test_misleading_images_end_after_two_thirds_of_the_training():
    distiller, both = made()
    assert "adversarial" in parts(distiller, both, progress=0.6)
    assert "adversarial" not in parts(distiller, both, progress=0.67)
    assert both.passed > 0
    distiller, both = made(adversarial_weight=0)
    parts(distiller, both)
    assert both.passed == 0


def test_the_control_learns_the_labels_of_the_same_images():
    distiller, both = made(adversarial="labels", augment=False)
    images, boxes = drawn([[0.4, 0.35, 0.75, 0.6]], images=2)
    weight, value = parts(distiller, both)["adversarial"]
    attacked = distiller.misleading(both, images.float() / 255, step(boxes))
    wanted = sum(Detection().supervised(both.student(attacked), step(boxes)).values())
    assert weight == 1
    torch.testing.assert_close(value, wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversarial_weight": -1.0}, "adversarial_weight=-1.0"),
        ({"attack_steps": 0}, "attack_steps=0: an attack takes 1 step at least"),
        ({"until": 1.5}, "until=1.5: it is a share of the training"),
    ],
)
def test_options_that_have_no_meaning_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        made(**options)


def test_outputs_of_other_images_are_refused():
    distiller, both = made()
    images, boxes = drawn([[0.4, 0.35, 0.75, 0.6]], images=2)
    outputs = [network(images).in_float32() for network in (both._student, both._teacher)]
    with pytest.raises(InputError, match="call see with those of the step"):
        distiller.weighted_parts(*outputs, step(boxes, both))
