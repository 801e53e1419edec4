import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.training.confusion import among, class_accuracy, confusion_matrix

TARGETS = torch.tensor([0, 0, 0, 1, 1, 3])
PREDICTED = torch.tensor([0, 1, 3, 1, 1, 0])


def test_rows_are_classes_and_columns_what_they_are_taken_for():
    expected = [[1, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert confusion_matrix(TARGETS, PREDICTED, 4).tolist() == expected


def test_the_accuracy_of_each_class():
    accuracy = class_accuracy(confusion_matrix(TARGETS, PREDICTED, 4))
    assert accuracy.nan_to_num(-1).tolist() == pytest.approx([100 / 3, 100, -1, 0])


def test_some_classes_and_all_others():
    shares = among(confusion_matrix(TARGETS, PREDICTED, 4), [1, 0])
    assert shares.tolist() == [[100, 0, 0], pytest.approx([100 / 3] * 3)]
    assert among(confusion_matrix(TARGETS, PREDICTED, 4), [0], [3]).tolist() == [pytest.approx([100 / 3, 200 / 3])]
    assert among(confusion_matrix(TARGETS, PREDICTED, 4), [2]).isnan().all()


@pytest.mark.parametrize(
    ("targets", "predicted", "message"),
    [
        ([0, 1], [0], r"targets \[2\] and predicted \[1\]"),
        ([0], [4], r"predicted holds class \[4\] but there are 4 classes"),
        ([-1], [0], r"targets holds class \[-1\]"),
    ],
)
def test_what_is_no_class_is_refused(targets, predicted, message):
    with pytest.raises(InputError, match=message):
        confusion_matrix(torch.tensor(targets), torch.tensor(predicted), 4)
