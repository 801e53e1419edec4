import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.divergences import SSE
from trg_pyg.relations import GivenWeight


def test_errors_are_summed_over_edges_and_averaged_over_nodes(compare):
    """Two edges run into node 0, one into node 1, none into node 2."""
    edges = torch.tensor([[1, 2, 0], [0, 0, 1]])
    student = Data(edge_index=edges, edge_weight=torch.tensor([1.0, 2.0, 3.0]), num_nodes=3)
    teacher = Data(edge_index=edges, edge_weight=torch.tensor([2.0, 0.0, 3.0]), num_nodes=3)
    assert compare(SSE(), GivenWeight(), student, teacher).item() == pytest.approx((1 + 4 + 0) / 3)


def test_of_no_edge_it_is_0(compare):
    none = Data(edge_index=torch.empty(2, 0, dtype=torch.long), edge_weight=torch.empty(0), num_nodes=3)
    assert compare(SSE(), GivenWeight(), none, none) == 0
