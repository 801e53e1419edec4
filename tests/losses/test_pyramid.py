import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.losses import PyramidLoss


def test_a_map_of_two_by_two_written_out():
    """Differences 1, 2, 3, 6: mean square 12.5; of their mean, 3, it is 9, at half the weight."""
    student = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).view(1, 1, 2, 2)
    assert PyramidLoss()(student, torch.zeros(1, 1, 2, 2)).item() == pytest.approx((12.5 + 9 / 2) / 1.5)


def test_maps_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="they are compared value by value; bring them to one shape"):
        PyramidLoss()(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2))
