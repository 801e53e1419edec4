import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.losses import class_counts


def test_images_of_each_class_are_counted():
    assert class_counts(torch.tensor([2, 0, 2, 1]), 3).tolist() == [1, 1, 2]
    assert class_counts(torch.tensor([2, 0, 2]), 4, empty=True).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0, 2]), "class 1 has no training image"),
        (torch.tensor([0, 1, 2, 5]), "class 5 of a training image: there are 3 classes"),
        (torch.tensor([[0, 1]]), r"labels \(1, 2\)"),
        (torch.tensor([0.0]), "float32"),
        (torch.zeros(0, dtype=torch.int64), r"labels \(0,\)"),
    ],
    ids=str,
)
def test_what_cannot_be_counted_is_named(targets, message):
    with pytest.raises(InputError, match=message):
        class_counts(targets, 3)
