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
        (torch.tensor(1), 0.5, None, "target of no dimension: give the label of each image"),
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


def test_the_noise_of_an_image_is_its_own_in_any_company():
    def noise(index, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return Step(torch.zeros(len(index), dtype=torch.int64), 0.0, generator, torch.tensor(index)).noise((3, 50))

    whole = noise([4, 7, 1000])
    assert whole.shape == (3, 3, 50)
    assert torch.equal(whole[1:2], noise([7]))
    assert not any(torch.equal(one, other) for one, other in [(whole[0], whole[1]), (whole[0], noise([4], seed=1)[0])])
    assert 0 <= whole.min() < 0.05
    assert 0.95 < whole.max() < 1


def test_noise_without_positions_is_refused():
    with pytest.raises(InputError, match="give Step"):
        Step(torch.zeros(2, dtype=torch.int64), 0.0, torch.Generator()).noise((2,))
