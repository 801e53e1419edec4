import pytest
import torch

from trg_pyg.data import DetectionSet, MirroredBoxes, PastedDigits, make_loader, padded
from trg_pyg.errors import InputError


def lit(image: torch.Tensor) -> list[float]:
    rows, columns = (image[0] > 0).nonzero().unbind(1)
    return [each / 16 for each in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def test_images_and_their_boxes_are_mirrored_alike():
    images = torch.zeros(20, 3, 16, 16, dtype=torch.uint8)
    images[:, :, 4:6, 1:9] = 200
    box = torch.tensor([[1 / 16, 4 / 16, 9 / 16, 6 / 16, 1, 0]])
    source = DetectionSet(images, padded([box, *([torch.cat([box, box])] * 19)]))
    (batch,) = make_loader(source, 20, augment=MirroredBoxes(), shuffle=False)
    places = {tuple(row) for row in batch.target[:, 0].tolist()}
    assert len(places) == 2
    for image, boxes in zip(batch.inputs, batch.target, strict=True):
        assert boxes[0, :4].tolist() == lit(image)
    assert batch.target[0, 1].tolist() == [0, 0, 0, 0, -1, 0]  # where there is no box, there is none


def test_images_without_boxes_have_a_place_for_one():
    assert padded([torch.zeros(0, 6)]).tolist() == [[[0, 0, 0, 0, -1, 0]]]


def test_data_whose_boxes_cannot_be_scored_are_refused_before_a_training(monkeypatch):
    monkeypatch.setattr("trg_pyg.tasks.detection.find_spec", lambda name: None)
    monkeypatch.setattr(PastedDigits, "_read", lambda self: (*[few()] * 2, ("a",)))
    with pytest.raises(InputError, match=r"trg_pyg\[detection\]"):
        PastedDigits().load()


def few() -> DetectionSet:
    return DetectionSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), padded([torch.tensor([[0, 0, 1, 1, 0, 0]])] * 2))
