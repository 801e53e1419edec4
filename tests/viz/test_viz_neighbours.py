import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.errors import InputError

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from trg_pyg.viz.drawing import SHARED
from trg_pyg.viz.neighbours import draw_neighbours, draw_patch, ranked_neighbours

IMAGES = torch.full((2, 3, 4, 6), 200, dtype=torch.uint8)  # of 2x2 tokens each, a token is 2x3 pixels


def graph_of(*edges):
    """A graph of the eight tokens with edges (source, target, weight)."""
    return Data(
        x=torch.ones(8, 1),
        edge_index=torch.tensor([edge[:2] for edge in edges]).t(),
        edge_weight=torch.tensor([edge[2] for edge in edges]),
    )


GRAPH = graph_of((3, 0, 0.2), (6, 0, 0.9), (1, 0, 0.5), (0, 1, 1.0))


def bright(axes):
    """Rows and columns of the pixels that are not dimmed."""
    return (torch.tensor(axes.images[0].get_array())[..., 0] > 0.6).nonzero().tolist()


def test_neighbours_are_those_with_an_edge_into_the_token_the_heaviest_first():
    assert ranked_neighbours(GRAPH, 0).tolist() == [6, 1, 3]
    assert ranked_neighbours(GRAPH, 0, 2).tolist() == [6, 1]
    assert ranked_neighbours(GRAPH, 5).tolist() == []
    with pytest.raises(InputError, match="token 8: the graph has 8"):
        ranked_neighbours(GRAPH, 8)


def test_the_patch_alone_is_bright(axes):
    draw_patch(axes, IMAGES[0], (2, 2), 3)
    assert bright(axes) == [[row, column] for row in (2, 3) for column in (3, 4, 5)]
    (frame,) = axes.patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((2.5, 1.5), 3, 2)


def test_patches_stand_in_the_order_of_their_rank_and_hits_are_framed(axes):
    row = axes.figure.subplots(1, 4)
    teacher = graph_of((1, 0, 0.9), (6, 0, 0.1), (5, 0, 0.3))
    assert draw_neighbours(row, IMAGES, GRAPH, (2, 2), 0, teacher=teacher) == 2
    # Token 6 is row 1, column 0 of the second image.
    assert [bright(each)[0] for each in row[:3]] == [[2, 0], [0, 3], [2, 3]]
    assert [each.axison for each in row] == [True, True, False, False]
    assert {to_hex(spine.get_edgecolor()) for spine in row[0].spines.values()} == {SHARED}
    assert draw_neighbours(axes.figure.subplots(1, 1, squeeze=False)[0], IMAGES, GRAPH, (2, 2), 0, teacher=teacher) == 0


def test_images_and_graph_belong_together(axes):
    with pytest.raises(InputError, match="8 nodes for 1 images: give all"):
        draw_neighbours([axes], IMAGES[:1], GRAPH, (2, 2), 0)
