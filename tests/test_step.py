import math

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.step import Step


def test_a_step_of_labels_and_positions():
    step = Step(torch.tensor([1, 0]), 1.0, torch.Generator(), torch.tensor([5, 3]))
    assert step.index.tolist() == [5, 3]


@pytest.mark.parametrize(
    ("target", "progress", "index", "message"),
    [
        (torch.zeros(2), 0.5, None, r"target \(2,\) of type torch.float32: give one label an image, int64"),
        (torch.zeros(2, 1, dtype=torch.long), 0.5, None, r"target \(2, 1\)"),
        (torch.arange(2), 0.5, torch.arange(3), r"index \(3,\) for target \(2,\)"),
        (torch.arange(2), 0.5, torch.tensor([True, False]), r"index \(2,\) for target"),
        (torch.arange(2), -0.1, None, "progress=-0.1: it is a share of the training, from 0 to 1"),
        (torch.arange(2), math.nan, None, "progress=nan"),
    ],
)
def test_what_is_no_step_is_refused(target, progress, index, message):
    with pytest.raises(InputError, match=message):
        Step(target, progress, torch.Generator(), index)


@pytest.mark.parametrize("soft", [torch.zeros(3, 4), torch.zeros(2, 4, dtype=torch.long)])
def test_shares_of_classes_are_one_row_an_image(soft):
    with pytest.raises(InputError, match=r"soft \(\d, 4\) for target \(2,\): give the shares"):
        Step(torch.arange(2), 0.5, torch.Generator(), soft=soft)
