import numpy as np
import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.graphs.knn import KNNGraph

pytest.importorskip("matplotlib")

from trg_pyg.viz.similarity import contextual_similarity, cosine_similarity, draw_similarity

IMAGE = torch.randint(0, 256, (3, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_cosines_are_those_of_the_definition(tokens):
    (x,) = tokens(1, 9, 5, dtype=torch.float64)
    found = cosine_similarity(x, 4)
    for other in range(9):
        assert found[other].item() == pytest.approx(float(x[4] @ x[other] / (x[4].norm() * x[other].norm())))
    x[3] = 0
    assert cosine_similarity(x, 3).tolist() == [0] * 9


def test_the_dense_map_is_a_row_of_the_plain_transcription(tokens):
    (x,) = tokens(1, 9, 5, dtype=torch.float64)
    # Equation of L_inner: CS = softmax(F F^T / sqrt(D)).
    matrix = torch.softmax(x @ x.T / 5**0.5, dim=1)
    for token in range(9):
        torch.testing.assert_close(contextual_similarity(x, token), matrix[token])


def test_the_map_on_a_graph_is_a_softmax_over_the_edges_into_the_token(tokens):
    (x,), (teacher,) = tokens(1, 9, 5, dtype=torch.float64), tokens(1, 9, 7, seed=1)
    graph = KNNGraph(3)(teacher[None])
    for token in (0, 4, 8):
        sources = graph.edge_index[0][graph.edge_index[1] == token]
        row = contextual_similarity(x, token, graph[0])
        assert row.isnan().sum() == 6
        torch.testing.assert_close(row[sources], torch.softmax(x[sources] @ x[token] / 5**0.5, dim=0))


def test_values_are_drawn_over_their_patches_and_the_token_is_framed(axes):
    values = torch.arange(12.0)
    values[5] = torch.nan
    shown = draw_similarity(axes, IMAGE, values, (3, 4), token=6)
    array = shown.get_array()
    assert array.shape == (3, 4)
    assert np.ma.getmaskarray(array).sum() == 1 or np.isnan(array[1, 1])
    assert array[2, 3] == 11
    assert shown.get_extent() == [-0.5, 11.5, 11.5, -0.5]
    (frame,) = axes.patches
    # Row 1, column 2 of cells of 3 x 4 pixels.
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (5.5, 3.5, 3, 4)


def test_what_is_no_token_or_no_map_is_refused(axes, tokens):
    (x,) = tokens(1, 9, 5)
    for token in (-1, 9):
        with pytest.raises(InputError, match=f"token {token}: the image has 9"):
            cosine_similarity(x, token)
    with pytest.raises(InputError, match=r"give those of one image"):
        contextual_similarity(x[None], 0)
    with pytest.raises(InputError, match=r"\(9,\) values for 2x4 tokens"):
        draw_similarity(axes, IMAGE, torch.ones(9), (2, 4))
