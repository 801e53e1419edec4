import sys

import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.errors import InputError

pytest.importorskip("matplotlib")

from trg_pyg.viz.drawing import (
    arcs,
    check_positions,
    dimmed,
    joined_too,
    patch_centres,
    pixels_of,
    strong_lines,
    weight_norm,
)


def test_nodes_lie_at_the_centres_of_their_patches():
    centres = patch_centres((2, 3), 4, 12)
    # Pixels 0 to 3 have their middle between 1 and 2; a row of the grid is 2 pixels high.
    assert centres.tolist() == [[1.5, 0.5], [5.5, 0.5], [9.5, 0.5], [1.5, 2.5], [5.5, 2.5], [9.5, 2.5]]


def test_arcs_begin_and_end_at_their_nodes_and_bend_to_the_left():
    starts, ends = torch.tensor([[0.0, 0.0], [4.0, 2.0]]), torch.tensor([[10.0, 0.0], [4.0, -2.0]])
    lines = arcs(starts, ends)
    assert torch.equal(lines[:, 0], starts)
    assert torch.equal(lines[:, -1], ends)
    middle = lines[:, lines.shape[1] // 2]
    # y grows downwards: to the left of "rightwards" is up, and to the left of "upwards" is left.
    assert middle[0, 0] == pytest.approx(5)
    assert middle[0, 1] < -0.5
    assert middle[1, 0] < 3.8
    # The reverse of an edge is another line.
    assert (arcs(ends, starts)[0, lines.shape[1] // 2] - middle[0]).abs().max() > 1


def test_positions_are_one_for_each_node_and_on_the_grid():
    assert check_positions(None, 12, (2, 3)).tolist() == [*range(6), *range(6)]
    assert check_positions(torch.tensor([[5, 0], [1, 2]]), 4, (2, 3)).tolist() == [5, 0, 1, 2]
    for positions, nodes, message in (
        (None, 7, "7 nodes on grids of 2x3 tokens"),
        (torch.tensor([1, 2]), 3, "2 positions for 3 nodes"),
        (torch.tensor([0, 6]), 2, "from 0 to 6 on a grid of 2x3: they count from 0 to 5"),
        (torch.tensor([-1, 3]), 2, "from -1 to 3"),
    ):
        with pytest.raises(InputError, match=message):
            check_positions(positions, nodes, (2, 3))


def test_one_scale_spans_all_weights_and_is_no_point():
    norm = weight_norm(torch.tensor([0.3, 0.5]), torch.tensor([0.9]))
    assert (norm.vmin, norm.vmax) == pytest.approx((0.3, 0.9))
    same = weight_norm(torch.ones(3))
    assert same.vmax > same.vmin
    with pytest.raises(InputError, match="no edges"):
        weight_norm(torch.empty(0))


def test_images_of_both_types_become_pixels():
    image = torch.arange(0, 240, 20, dtype=torch.uint8).view(3, 2, 2)
    assert pixels_of(image).shape == (2, 2, 3)
    assert pixels_of(image)[1, 0].tolist() == [40, 120, 200]
    assert dimmed(image) == pytest.approx(dimmed(image / 255), abs=1e-6)
    assert dimmed(image).min() >= 0.2
    assert dimmed(image).max() < 0.7
    with pytest.raises(InputError, match=r"image \(2, 2\)"):
        pixels_of(image[0])


def test_a_missing_matplotlib_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.colors", None)
    with pytest.raises(InputError, match=r"pictures need matplotlib .*pip install 'trg_pyg\[lab\]'"):
        weight_norm(torch.ones(2))


def graph_of(*edges):
    """A graph of four nodes with edges (source, target, weight)."""
    return Data(
        x=torch.ones(4, 1),
        edge_index=torch.tensor([edge[:2] for edge in edges]).t(),
        edge_weight=torch.tensor([edge[2] for edge in edges]),
    )


def test_strong_lines_are_the_heaviest_into_each_token_with_mutual_ones_merged():
    graph = graph_of((1, 0, 0.3), (2, 0, 0.9), (3, 0, 0.5), (0, 1, 0.2), (2, 1, 0.2), (0, 2, 0.9), (1, 3, 0.1))
    for best, lines in (
        # 0 and 2 have one another; 0 -> 1 is as heavy as 2 -> 1, and comes first.
        (1, {(0, 1): False, (0, 2): True, (1, 3): False}),
        (2, {(3, 0): False, (0, 1): False, (2, 1): False, (0, 2): True, (1, 3): False}),
    ):
        edges, mutual = strong_lines(graph, best)
        assert dict(zip(map(tuple, graph.edge_index[:, edges].t().tolist()), mutual.tolist(), strict=True)) == lines
    assert strong_lines(graph, 1, torch.tensor([0, 2]))[0].tolist() == [2]
    with pytest.raises(InputError, match="best=0: give 1 or more"):
        strong_lines(graph, 0)


def test_two_tokens_are_joined_too_whichever_way_the_edge_goes():
    graph, other = graph_of((0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0)), graph_of((1, 0, 1.0), (3, 2, 1.0), (1, 2, 1.0))
    assert joined_too(graph, torch.arange(3), other, torch.tensor([0, 1])).tolist() == [True, False, True]
