import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.graphs import BipartiteGraph


def test_two_graphs_of_two_and_two_nodes():
    graph = BipartiteGraph(None)(torch.ones(2, 4, 3))
    assert graph.edge_index.T.tolist() == [[0, 2], [1, 2], [0, 3], [1, 3], [4, 6], [5, 6], [4, 7], [5, 7]]


def test_an_odd_number_of_nodes_is_refused():
    with pytest.raises(InputError, match="3 nodes in two halves: give both the same number"):
        BipartiteGraph()(torch.ones(1, 3, 2))
