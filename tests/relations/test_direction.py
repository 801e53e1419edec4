import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.relations import Direction, Scaled, Softmax


def test_from_the_target_to_the_source_and_nothing_between_equal_nodes():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]], requires_grad=True)
    value = Direction()(Data(x=x, edge_index=torch.tensor([[1, 0, 2], [0, 1, 1]])))
    torch.testing.assert_close(value, torch.tensor([[0.6, 0.8], [-0.6, -0.8], [0.0, 0.0]]))
    value[2].sum().backward()
    assert not x.grad.any()


def test_vectors_are_no_values_to_scale_or_to_make_a_distribution_of():
    with pytest.raises(InputError, match="it has values on vectors"):
        Scaled(Direction(), by="mean")
    with pytest.raises(InputError, match="it has values on vectors"):
        Softmax(Direction())
