"""Masks and errors of a detector's maps against loops in double precision."""

import math

import pytest
import torch
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.losses import attention_masks, box_masks, focal_errors

BOXES = torch.tensor([[[0.1, 0.2, 0.6, 0.5], [0.4, 0.3, 0.9, 0.9], [0.0, 0.0, 1.0, 1.0]]] * 2, dtype=torch.float64)
THERE = torch.tensor([[True, True, False], [False, True, False]])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def dense_attention(f: Tensor) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Of a map [C, H, W], for each cell and each channel."""
    channels, height, width = f.shape
    cells = [[sum(f[:, y, x].abs()) / channels / 0.5 for x in range(width)] for y in range(height)]
    total = sum(each.exp() for row in cells for each in row)
    of_channels = [f[c].abs().sum() / (height * width) / 0.5 for c in range(channels)]
    whole = sum(each.exp() for each in of_channels)
    return (
        [[height * width * each.exp() / total for each in row] for row in cells],
        [channels * each.exp() / whole for each in of_channels],
    )


def dense_masks(boxes: Tensor, there: Tensor, height: int, width: int) -> tuple[list[list[float]], list[list[float]]]:
    objects = [[0.0] * width for _ in range(height)]
    for (left, top, right, bottom), counts in zip(boxes.tolist(), there.tolist(), strict=True):
        rows = range(math.floor(top * height), math.ceil(bottom * height)) if counts else []
        columns = range(math.floor(left * width), math.ceil(right * width))
        for y in rows:
            for x in columns:
                objects[y][x] = max(objects[y][x], 1 / (len(rows) * len(columns)))
    free = sum(each == 0 for row in objects for each in row)
    return objects, [[float(each == 0) / free if free else 0.0 for each in row] for row in objects]


def dense_errors(student: Tensor, teacher: Tensor, boxes: Tensor, there: Tensor) -> dict[str, Tensor]:
    images, channels, height, width = teacher.shape
    parts = dict.fromkeys(("objects", "background", "cells", "channels"), torch.zeros((), dtype=torch.float64))
    for s, t, own, counts in zip(student, teacher.detach(), boxes, there, strict=True):
        (cells_s, channels_s), (cells, of_channels) = dense_attention(s), dense_attention(t)
        masks = dict(zip(("objects", "background"), dense_masks(own, counts, height, width), strict=True))
        for c in range(channels):
            parts["channels"] = parts["channels"] + (channels_s[c] - of_channels[c]).abs() / images
        for y in range(height):
            for x in range(width):
                parts["cells"] = parts["cells"] + (cells_s[y][x] - cells[y][x]).abs() / images
                for name, mask in masks.items():
                    for c in range(channels):
                        error = cells[y][x] * of_channels[c] * (s[c, y, x] - t[c, y, x]) ** 2
                        parts[name] = parts[name] + mask[y][x] * error / images
    return parts


def test_errors_are_the_equations_with_their_gradients():
    student, teacher = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1)
    found = focal_errors(student, teacher, BOXES, THERE)
    wanted = dense_errors(student, teacher, BOXES, THERE)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name])
        grads = [torch.autograd.grad(each, student, retain_graph=True)[0] for each in (value, wanted[name])]
        torch.testing.assert_close(*grads)
        assert torch.autograd.grad(value, teacher, retain_graph=True, allow_unused=True)[0] is None


def test_masks_of_two_boxes_that_overlap_by_hand():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 1.0, 1.0]]])
    objects, background = box_masks(boxes, torch.ones(1, 2, dtype=torch.bool), (4, 4))
    small, large = 1 / 4, 1 / 9
    wanted = [[small, small, 0, 0], [small, small, large, large], [0, large, large, large], [0, large, large, large]]
    torch.testing.assert_close(objects[0, 0], torch.tensor(wanted))
    torch.testing.assert_close(background[0, 0], (torch.tensor(wanted) == 0) / 4)


def test_a_box_within_one_cell_is_that_cell():
    objects, _ = box_masks(torch.tensor([[[0.3, 0.3, 0.31, 0.32]]]), torch.ones(1, 1, dtype=torch.bool), (4, 4))
    assert objects.sum() == objects[0, 0, 1, 1] == 1


@pytest.mark.parametrize(("there", "left_out"), [(False, "objects"), (True, "background")])
def test_images_of_background_alone_and_of_objects_alone_lack_a_part(there, left_out):
    """The third box is the whole image."""
    counts = torch.tensor([[False, False, there]] * 2)
    student, teacher = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1)
    found = focal_errors(student, teacher, BOXES, counts)
    assert [name for name, value in found.items() if value == 0] == [left_out]
    assert torch.autograd.grad(sum(found.values()), student)[0].isfinite().all()


def test_attention_has_a_mean_of_one_and_of_nothing_is_even():
    for features in (draw(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)):
        cells, channels = attention_masks(features)
        torch.testing.assert_close(cells.mean((1, 2, 3)), torch.ones(2, dtype=cells.dtype))
        torch.testing.assert_close(channels.mean((1, 2, 3)), torch.ones(2, dtype=cells.dtype))
    assert cells.unique().tolist() == channels.unique().tolist() == [1]


def test_half_precision_is_compared_in_full():
    student, teacher = (draw(2, 3, 4, 5, seed=seed).detach().half() for seed in range(2))
    found = focal_errors(student, teacher, BOXES.float(), THERE)
    wanted = focal_errors(student.float(), teacher.float(), BOXES.float(), THERE)
    assert found == wanted


def test_a_mean_over_images_is_that_of_each_apart():
    student, teacher = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1)
    whole = focal_errors(student, teacher, BOXES, THERE)
    apart = [focal_errors(*(each[i : i + 1] for each in (student, teacher, BOXES, THERE))) for i in range(2)]
    for name, value in whole.items():
        torch.testing.assert_close(value, (apart[0][name] + apart[1][name]) / 2)


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match="give both of one size"):
        focal_errors(draw(2, 3, 4, 5), draw(2, 3, 4, 4), BOXES, THERE)
    with pytest.raises(InputError, match=r"boxes \(2, 3, 4\), and which count \(2, 2\)"):
        focal_errors(draw(2, 3, 4, 5), draw(2, 3, 4, 5), BOXES, THERE[:, :2])
