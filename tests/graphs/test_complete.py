import pytest
import torch

from trg_pyg.graphs import CompleteGraph


def test_two_graphs_of_three_nodes():
    graph = CompleteGraph()(torch.randn(2, 3, 4))
    assert graph.edge_index.T.tolist() == [
        [1, 0], [2, 0], [0, 1], [2, 1], [0, 2], [1, 2],
        [4, 3], [5, 3], [3, 4], [5, 4], [3, 5], [4, 5],
    ]  # fmt: skip


def test_self_loops():
    graph = CompleteGraph(self_loops=True)(torch.randn(1, 2, 4))
    assert graph.edge_index.tolist() == [[0, 1, 0, 1], [0, 0, 1, 1]]
    assert graph.edge_weight[0] == 1


def test_batch_scope_joins_the_images():
    graph = CompleteGraph(scope="batch")(torch.randn(2, 2, 4))
    assert graph.edge_index[1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert graph.edge_index[0].tolist() == [1, 2, 3, 0, 2, 3, 0, 1, 3, 0, 1, 2]
    assert graph.image.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("self_loops", "edges"), [(False, 0), (True, 1)])
def test_a_single_token(self_loops, edges):
    graph = CompleteGraph(self_loops=self_loops)(torch.randn(2, 1, 4))
    assert graph.num_edges == 2 * edges
    assert [g.num_edges for g in graph.to_data_list()] == [edges, edges]


def test_repr():
    expected = "CompleteGraph(weight=Gaussian, normalize=True, scope=image, self_loops=False)"
    assert str(CompleteGraph()) == expected
