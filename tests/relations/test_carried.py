import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph
from trg_pyg.relations import GivenWeight, NodeFeatures


def test_given_weights_are_those_of_the_graph_with_their_gradient():
    weight = torch.tensor([0.5, 2.0], dtype=torch.float16, requires_grad=True)
    graph = Data(x=torch.zeros(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=weight)
    value = GivenWeight()(graph)
    assert (value.dtype, value.tolist()) == (torch.float32, [0.5, 2.0])
    value.sum().backward()
    assert weight.grad.tolist() == [1.0, 1.0]


def test_a_graph_without_weights_is_refused():
    with pytest.raises(InputError, match="no edge_weight: build it with a weight"):
        GivenWeight()(KNNGraph(1, None)(torch.zeros(1, 3, 2)))


def test_node_features_are_the_nodes_in_full_precision():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16, requires_grad=True)
    value = NodeFeatures()(Data(x=x))
    assert (value.dtype, value.tolist()) == (torch.float32, [[1.0, 2.0], [3.0, 4.0]])
    value.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert NodeFeatures().on == "nodes"
