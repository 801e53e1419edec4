import pytest
import torch
from torch_geometric.data import Batch, Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import LayerGraph
from trg_pyg.relations import Distance


def test_three_layers_of_two_images():
    x = torch.tensor([[0.0], [1.0], [10.0], [12.0], [30.0], [33.0]])[None]
    graph = LayerGraph(3, Distance(), normalize=False)(x)
    assert graph.edge_index.T.tolist() == [[0, 2], [1, 3], [2, 4], [3, 5]]
    assert graph.edge_weight.tolist() == [10.0, 11.0, 20.0, 21.0]


def test_several_graphs(tokens):
    graph = LayerGraph(2)(tokens(2, 4, 3))
    assert graph.edge_index.T.tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert [one.edge_index.T.tolist() for one in graph.to_data_list()] == [[[0, 2], [1, 3]]] * 2


def test_one_image(tokens):
    assert LayerGraph(2, None)(tokens(1, 2, 3)).edge_index.tolist() == [[0], [1]]


def test_a_ragged_batch():
    batch = Batch.from_data_list([Data(x=torch.randn(4, 3)), Data(x=torch.randn(2, 3))])
    graph = LayerGraph(2)(batch)
    assert graph.edge_index.T.tolist() == [[0, 2], [1, 3], [4, 5]]
    assert graph[1].edge_index.tolist() == [[0], [1]]


@pytest.mark.parametrize("layers", [1, 0, -2])
def test_fewer_than_two_layers_are_refused_when_built(layers):
    with pytest.raises(InputError, match=f"layers={layers}: a graph between layers needs at least 2"):
        LayerGraph(layers)


@pytest.mark.parametrize(("layers", "nodes"), [(2, 5), (3, 4), (2, 1)])
def test_nodes_that_are_no_multiple_of_the_layers_are_refused(layers, nodes, tokens):
    with pytest.raises(InputError, match=f"{nodes} nodes in {layers} layers: give every layer the same nodes"):
        LayerGraph(layers)(tokens(1, nodes, 3))
