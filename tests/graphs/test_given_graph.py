import pytest
import torch
from torch_geometric.data import Batch, Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import GivenGraph, GridGraph
from trg_pyg.relations import Distance

EDGES = torch.tensor([[2, 0, 1], [0, 1, 0]])  # not sorted


def test_the_same_edges_in_every_graph_sorted_by_target_then_source(tokens):
    graph = GivenGraph(EDGES, 3)(tokens(2, 3, 4))
    assert graph.edge_index.T.tolist() == [[1, 0], [2, 0], [0, 1], [4, 3], [5, 3], [3, 4]]
    assert [one.edge_index.T.tolist() for one in graph.to_data_list()] == [[[1, 0], [2, 0], [0, 1]]] * 2
    assert EDGES.tolist() == [[2, 0, 1], [0, 1, 0]]


def test_weights_are_of_the_edges_that_they_stand_at():
    x = torch.tensor([[[0.0], [1.0], [5.0]]])
    graph = GivenGraph(EDGES, 3, Distance(), normalize=False)(x)
    assert graph.edge_weight.tolist() == [1.0, 5.0, 1.0]
    assert "edge_weight" not in GivenGraph(EDGES, 3, None)(x)


def test_edges_of_a_grid_make_the_grid_graph(tokens):
    x = tokens(2, 6, 4)
    grid = GridGraph(2, 3)
    shuffled = grid(x[:1]).edge_index[:, torch.randperm(14, generator=torch.Generator().manual_seed(0))]
    given = GivenGraph(shuffled, 6)(x)
    assert torch.equal(given.edge_index, grid(x).edge_index)
    assert torch.equal(given.edge_weight, grid(x).edge_weight)


def test_no_edges(tokens):
    graph = GivenGraph(torch.empty(2, 0, dtype=torch.long), 3)(tokens(2, 3, 4))
    assert graph.edge_index.shape == (2, 0)
    assert [one.num_edges for one in graph.to_data_list()] == [0, 0]


def test_as_a_transform(tokens):
    x = tokens(2, 3, 4)
    builder = GivenGraph(EDGES, 3)
    batch = builder(Batch.from_data_list([Data(x=x[0]), Data(x=x[1])]))
    assert torch.equal(batch.edge_index, builder(x).edge_index)


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (torch.zeros(3, 2).long(), r"edge_index of shape \(3, 2\) and type torch.int64: give int64 \[2, edges\]"),
        (torch.zeros(2).long(), r"edge_index of shape \(2,\)"),
        (torch.zeros(2, 2), "type torch.float32"),
        (torch.tensor([[0, 3], [1, 0]]), r"names node \[3\] of a graph of 3 nodes, numbered from 0"),
        (torch.tensor([[0], [-1]]), r"names node \[-1\]"),
    ],
)
def test_impossible_edges_are_refused_when_built(edge_index, message):
    with pytest.raises(InputError, match=message):
        GivenGraph(edge_index, 3)


def test_graphs_of_another_size_are_refused(tokens):
    with pytest.raises(InputError, match="4 tokens an image on a given graph of 3 nodes"):
        GivenGraph(EDGES, 3)(tokens(2, 4, 4))
