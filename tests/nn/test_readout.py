import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.nn import Readout

X = torch.tensor([[1.0, -1.0], [3.0, -5.0], [10.0, 20.0]])
BATCH = torch.tensor([0, 0, 1])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mean", [[2, -3], [10, 20]]), ("max", [[3, -1], [10, 20]]), ("sum", [[4, -6], [10, 20]])],
)
def test_pools_each_graph(kind, expected):
    assert Readout(kind)(X, BATCH, 2).tolist() == expected


def test_unknown_pooling_names_the_choices():
    with pytest.raises(InputError, match="readout=median: choose mean, max, sum"):
        Readout("median")
