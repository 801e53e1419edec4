import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph, chance_recall, corrected_recall, edge_recall


def of_edges(nodes, *edges):
    return Data(x=torch.zeros(nodes, 1), edge_index=torch.tensor(edges, dtype=torch.long).view(-1, 2).t())


@pytest.mark.parametrize("scope", ["image", "batch"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_is_the_mean_share_of_each_nodes_neighbours(tokens, scope, k):
    builder = KNNGraph(k, None, scope=scope)
    student, teacher = builder(tokens(4, 6, 5)), builder(tokens(4, 6, 7, seed=1))

    def neighbours(graph, node):
        return {int(s) for s, t in graph.edge_index.t() if t == node}

    shares = [len(neighbours(student, node) & neighbours(teacher, node)) / k for node in range(24)]
    torch.testing.assert_close(edge_recall(student, teacher), torch.tensor(shares).mean())


def test_a_graph_finds_itself_and_a_complete_graph_finds_all(tokens):
    x = tokens(3, 6, 4)
    graph = KNNGraph(2, None)(x)
    assert edge_recall(graph, graph) == 1
    assert edge_recall(KNNGraph(5, None)(x), graph) == 1
    assert edge_recall(graph, KNNGraph(5, None)(x)).item() == pytest.approx(2 / 5)


def test_direction_counts_and_order_does_not():
    reference = of_edges(3, (0, 1), (1, 2))
    assert edge_recall(of_edges(3, (1, 2), (0, 1)), reference) == 1
    assert edge_recall(of_edges(3, (1, 0), (1, 2)), reference) == 0.5
    assert edge_recall(of_edges(3), reference) == 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="4 nodes beside a reference of 3"):
        edge_recall(of_edges(4, (0, 1)), of_edges(3, (0, 1)))
    with pytest.raises(InputError, match="no edge"):
        edge_recall(of_edges(3, (0, 1)), of_edges(3))


def test_chance_is_the_share_of_others_and_random_graphs_have_it(tokens):
    own, other = (KNNGraph(8)(tokens(40, 16, 64, seed=seed)) for seed in (0, 1))
    assert chance_recall(own) == chance_recall(own[0]) == 8 / 15
    assert edge_recall(own, other).item() == pytest.approx(8 / 15, abs=0.02)
    assert chance_recall(KNNGraph(8, scope="batch")(tokens(4, 16, 5))) == 8 / 63
    # Of unequal sizes: all pairs within a graph.
    unequal = Data(x=torch.zeros(6, 1), edge_index=own.edge_index[:, :3] % 2, batch=torch.tensor([0, 0, 1, 1, 1, 1]))
    assert chance_recall(unequal) == 3 / (2 * 1 + 4 * 3)
    assert chance_recall(CompleteGraph(self_loops=True)(tokens(2, 4, 3))) == 1


def test_corrected_recall_is_0_at_chance_and_1_for_all():
    assert [corrected_recall(recall, 0.5) for recall in (0.5, 0.75, 1.0, 0.0)] == [0, 0.5, 1, -1]
    assert corrected_recall(1.0, 1.0) is None
