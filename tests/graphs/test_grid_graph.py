import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.graphs import GridGraph


def neighbours(graph, node: int) -> list[int]:
    return graph.edge_index[0, graph.edge_index[1] == node].tolist()


def test_two_by_three_grid_written_out():
    # 0 1 2
    # 3 4 5
    graph = GridGraph(2, 3)(torch.randn(1, 6, 4))
    assert graph.edge_index.T.tolist() == [
        [1, 0], [3, 0],
        [0, 1], [2, 1], [4, 1],
        [1, 2], [5, 2],
        [0, 3], [4, 3],
        [1, 4], [3, 4], [5, 4],
        [2, 5], [4, 5],
    ]  # fmt: skip


def test_diagonal_joins_the_eight_around():
    graph = GridGraph(3, 3, diagonal=True)(torch.randn(1, 9, 4))
    assert neighbours(graph, 4) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert neighbours(graph, 0) == [1, 3, 4]
    assert neighbours(graph, 5) == [1, 2, 4, 7, 8]


def test_the_second_image_has_the_same_grid():
    graph = GridGraph(2, 2)(torch.randn(2, 4, 3))
    assert torch.equal(graph[1].edge_index, graph[0].edge_index)
    assert neighbours(graph, 4) == [5, 6]


def test_content_does_not_matter_for_the_edges_but_for_the_weights():
    first, second = GridGraph(2, 2)(torch.randn(1, 4, 3)), GridGraph(2, 2)(torch.randn(1, 4, 3))
    assert torch.equal(first.edge_index, second.edge_index)
    assert not torch.equal(first.edge_weight, second.edge_weight)


def test_a_single_cell_has_no_edges():
    graph = GridGraph(1, 1)(torch.randn(2, 1, 3))
    assert graph.edge_index.shape == (2, 0)
    assert graph.edge_weight.shape == (0,)


def test_sampled_tokens_are_refused():
    with pytest.raises(InputError, match=r"5 tokens an image on a 2x3 grid: .* all 6 tokens"):
        GridGraph(2, 3)(torch.randn(2, 5, 4))


@pytest.mark.parametrize(("height", "width"), [(0, 3), (3, -1)])
def test_sides_are_at_least_one(height, width):
    with pytest.raises(InputError, match=f"{height}x{width}"):
        GridGraph(height, width)


def test_repr():
    expected = "GridGraph(weight=Gaussian, normalize=True, scope=image, num_nodes=6, height=2, width=3, diagonal=False)"
    assert str(GridGraph(2, 3)) == expected
