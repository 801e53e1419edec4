import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.graphs.knn import KNNGraph

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from trg_pyg.viz.cross_image import cross_image_edges, cross_image_lines, draw_cross_image_graph, thumbnail_corners
from trg_pyg.viz.drawing import OWN, SHARED, patch_centres

IMAGES = torch.randint(0, 256, (5, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def graph_of(tokens, images=5, count=4):
    return KNNGraph(3, scope="batch")(tokens(images, count, 6))


def crossing(graph, count=4):
    """Source, target and weight of the edges between images, by a loop."""
    edges = zip(*graph.edge_index.tolist(), graph.edge_weight.tolist(), strict=True)
    return [(s, t, w) for s, t, w in edges if s // count != t // count]


def test_edges_between_images_are_those_of_a_loop_the_heaviest_first(tokens):
    graph = graph_of(tokens)
    wanted = sorted(crossing(graph), key=lambda edge: -edge[2])
    assert 0 < len(wanted) < graph.num_edges
    edges = cross_image_edges(graph)
    found = [(*graph.edge_index[:, edge].tolist(), graph.edge_weight[edge].item()) for edge in edges]
    assert sorted(found) == sorted(wanted)
    assert [weight for *_, weight in found] == [weight for *_, weight in wanted]
    assert torch.equal(cross_image_edges(graph, 7), edges[:7])
    assert len(cross_image_edges(graph, 10_000)) == len(wanted)


def test_the_strongest_are_drawn_from_patch_to_patch_across_thumbnails(axes, tokens):
    graph, positions = graph_of(tokens), torch.tensor([[0, 5, 10, 15]] * 4 + [[1, 2, 3, 4]])
    lines = draw_cross_image_graph(axes, IMAGES, graph, (4, 4), positions, strongest=9, labels=list("abcde"))
    assert len(lines.get_segments()) == 9
    corners, centres = thumbnail_corners(5, 16, 16), patch_centres((4, 4), 16, 16)

    def place(node):
        return (corners[node // 4] + centres[positions[node // 4, node % 4]]).tolist()

    wanted = sorted(crossing(graph), key=lambda edge: -edge[2])[:9]
    drawn = [[*line[0].tolist(), *line[-1].tolist()] for line in lines.get_segments()]
    ends = [[*place(source), *place(target)] for source, target, _ in wanted]
    torch.testing.assert_close(torch.tensor(sorted(drawn)), torch.tensor(sorted(ends)))
    assert lines.get_array().tolist() == pytest.approx([weight for *_, weight in reversed(wanted)])
    assert [text.get_text() for text in axes.texts] == list("abcde")
    assert [tuple(image.get_extent()[::3]) for image in axes.images] == [
        (x - 0.5, y - 0.5) for x, y in corners.tolist()
    ]


def test_lines_are_the_heaviest_edge_of_each_token_from_another_image(axes, tokens):
    graph, teacher = graph_of(tokens), graph_of(lambda *sizes: tokens(*sizes) ** 3)

    def lines_of(graph):
        best = {}
        for source, target, weight in crossing(graph):
            if target not in best or weight > best[target][1]:
                best[target] = source, weight
        both = {frozenset((source, target)) for target, (source, _) in best.items()}
        return {pair: all(best[i][0] in pair if i in best else False for i in pair) for pair in both}

    wanted, of_teacher = lines_of(graph), lines_of(teacher)
    edges, mutual = cross_image_lines(graph)
    found = {
        frozenset(pair): both
        for pair, both in zip(graph.edge_index[:, edges].t().tolist(), mutual.tolist(), strict=True)
    }
    assert found == wanted
    assert 0 < sum(found.values()) < len(found)
    weights = graph.edge_weight[edges].tolist()
    assert weights == sorted(weights, reverse=True)
    lines = draw_cross_image_graph(axes, IMAGES, graph, (2, 2), strongest=6, best=True, teacher=teacher)
    shared = [frozenset(pair) in of_teacher for pair in graph.edge_index[:, edges[:6]].t().tolist()]
    assert 0 < sum(shared) < 6
    assert [to_hex(colour) for colour in lines.get_colors()] == [SHARED if each else OWN for each in reversed(shared)]
    with pytest.raises(InputError, match="a teacher to compare lines with: set best"):
        draw_cross_image_graph(axes, IMAGES, graph, (2, 2), teacher=teacher)


def test_thumbnails_do_not_overlap():
    corners = thumbnail_corners(5, 16, 16)
    assert len(corners.unique(dim=0)) == 5
    apart = (corners[:, None] - corners).abs().amax(-1) + 100 * torch.eye(5)
    assert apart.min() > 16


def test_images_that_nothing_joins_are_shown_alone(axes):
    x = torch.cat([torch.eye(2)[:1].expand(4, 2), torch.eye(2)[1:].expand(4, 2)]).view(2, 4, 2)
    graph = KNNGraph(3, scope="batch")(x + 0)
    assert draw_cross_image_graph(axes, IMAGES[:2], graph, (2, 2)) is None
    assert len(axes.images) == 2


def test_what_does_not_belong_together_is_refused(axes, tokens):
    graph = graph_of(tokens)
    with pytest.raises(InputError, match="no attribute image or no edge_weight"):
        cross_image_edges(KNNGraph(3)(tokens(5, 4, 6)))
    with pytest.raises(InputError, match="no attribute image or no edge_weight"):
        cross_image_edges(KNNGraph(3, None, scope="batch")(tokens(5, 4, 6)))
    with pytest.raises(InputError, match="strongest=0"):
        cross_image_edges(graph, 0)
    with pytest.raises(InputError, match="4 images for a graph of 5"):
        draw_cross_image_graph(axes, IMAGES[:4], graph, (2, 2))
    with pytest.raises(InputError, match="1 labels for 5 images"):
        draw_cross_image_graph(axes, IMAGES, graph, (2, 2), labels=["a"])
