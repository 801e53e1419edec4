import pytest
import torch

from trg_pyg.data import PastedDigits
from trg_pyg.data.detection.pasted_digits import SIDE


@pytest.fixture(scope="module")
def splits():
    return PastedDigits().load()


def test_scenes_are_the_same_each_time(splits):
    again = PastedDigits(subset_seed=3).load()
    assert again.digest == splits.digest
    assert (len(splits.train), len(splits.test), splits.image_size) == (200, 100, SIDE)
    assert splits.classes == ("0", "1", "4")


def test_boxes_go_round_what_is_bright(splits):
    """Inside there are brighter pixels in every row and column at the edge than the background has."""
    images, boxes = splits.test.images[:, 0].float(), splits.test.targets
    for image, rows in zip(images, boxes, strict=True):
        for left, top, right, bottom, label, passed_over in rows[rows[:, 4] >= 0].tolist():
            window = image[round(top * SIDE) : round(bottom * SIDE), round(left * SIDE) : round(right * SIDE)]
            assert window.max() > 0.6 * 255
            assert 0 <= label <= 2
            assert passed_over == 0


def test_half_of_the_scenes_have_small_digits_alone_and_none_covers_another(splits):
    for number, rows in enumerate(splits.train.targets):
        boxes = rows[rows[:, 4] >= 0, :4]
        sides = boxes[:, 2:] - boxes[:, :2]
        assert (sides * SIDE).max() <= (12 if number % 2 == 0 else 32)
        overlap = torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - torch.maximum(boxes[:, None, :2], boxes[:, :2])
        inside = overlap.clamp(min=0).prod(2) * (1 - torch.eye(len(boxes)))
        assert inside.max() == 0
