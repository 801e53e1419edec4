import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.graphs.knn import KNNGraph

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from trg_pyg.viz.drawing import OWN, SHARED, patch_centres, weight_norm
from trg_pyg.viz.token_graph import draw_token_graph

IMAGE = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def drawn(lines):
    """Start, end and value of every line, as a set."""
    values = lines.get_array().tolist()
    ends = [(*line[0].tolist(), *line[-1].tolist()) for line in lines.get_segments()]
    return {(*(round(x, 3) for x in end), round(value, 5)) for end, value in zip(ends, values, strict=True)}


def expected(graph, centres):
    found = set()
    for (source, target), weight in zip(graph.edge_index.t().tolist(), graph.edge_weight.tolist(), strict=True):
        ends = (*centres[source].tolist(), *centres[target].tolist())
        found.add((*(round(x, 3) for x in ends), round(weight, 5)))
    return found


def test_every_edge_is_a_line_from_patch_to_patch_in_the_colour_of_its_weight(axes, tokens):
    graph = KNNGraph(3)(tokens(1, 16, 5))
    lines = draw_token_graph(axes, IMAGE, graph, (4, 4))
    assert len(lines.get_segments()) == graph.num_edges == 48
    assert drawn(lines) == expected(graph, patch_centres((4, 4), 32, 32))
    assert len(drawn(lines)) == 48
    # The heaviest are on top.
    assert lines.get_array().tolist() == sorted(lines.get_array().tolist())
    (nodes,) = [each for each in axes.collections if each is not lines]
    assert torch.equal(torch.tensor(nodes.get_offsets()).float(), patch_centres((4, 4), 32, 32))


def test_sampled_tokens_lie_where_they_were_taken(axes, tokens):
    graph, positions = KNNGraph(2)(tokens(1, 5, 4)), torch.tensor([1, 3, 8, 11, 14])
    norm = weight_norm(torch.tensor([0.0, 1.0]))
    lines = draw_token_graph(axes, IMAGE, graph, (4, 4), positions, norm)
    assert drawn(lines) == expected(graph, patch_centres((4, 4), 32, 32)[positions])
    assert lines.norm is norm


def test_a_plain_graph_without_weights_is_drawn_too(axes):
    lines = draw_token_graph(
        axes, IMAGE / 255, Data(x=torch.ones(4, 1), edge_index=torch.tensor([[0, 3], [1, 2]])), (2, 2)
    )
    assert lines.get_array().tolist() == [1, 1]


def test_of_few_strong_lines_mutual_ones_are_thicker_and_the_teacher_s_are_turquoise(axes):
    weights = torch.tensor([0.9, 0.8, 0.7, 0.6])
    graph = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[0, 1, 3, 0], [1, 0, 2, 2]]), edge_weight=weights)
    teacher = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[1], [0]]), edge_weight=torch.ones(1))
    alone = draw_token_graph(axes, IMAGE, graph, (2, 2), best=1)
    # 3 -> 2 is lighter than 0 <-> 1, so below it; 0 -> 2 is only the second best of 2.
    assert alone.get_array().tolist() == pytest.approx([0.7, 0.9])
    thin, thick = alone.get_linewidths()
    assert thick > thin
    compared = draw_token_graph(axes, IMAGE, graph, (2, 2), best=1, teacher=teacher)
    assert [to_hex(colour) for colour in compared.get_colors()] == [OWN, SHARED]
    assert [dashes is None for _, dashes in compared.get_linestyles()] == [False, True]
    with pytest.raises(InputError, match="say how many by best"):
        draw_token_graph(axes, IMAGE, graph, (2, 2), teacher=teacher)


def test_what_is_no_graph_of_the_grid_is_refused(axes, tokens):
    with pytest.raises(InputError, match="a graph without edges"):
        draw_token_graph(axes, IMAGE, Data(x=torch.ones(4, 1)), (2, 2))
    with pytest.raises(InputError, match="5 nodes on grids of 4x4"):
        draw_token_graph(axes, IMAGE, KNNGraph(2)(tokens(1, 5, 4)), (4, 4))
