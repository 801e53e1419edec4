import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.graphs import PlaceGraph


def test_three_images_of_two_tokens():
    graph = PlaceGraph(2, None)(torch.ones(3, 2, 4))
    edges = [(source, target) for target in range(6) for source in range(6) if source % 2 == target % 2]
    assert list(map(tuple, graph.edge_index.T.tolist())) == edges


def test_tokens_that_are_not_those_of_whole_images_are_refused():
    with pytest.raises(InputError, match="9 tokens of images of 2: give all tokens of each image"):
        PlaceGraph(2)(torch.ones(3, 3, 4))


def test_an_image_has_a_place():
    with pytest.raises(InputError, match="places=0: an image has at least 1 token"):
        PlaceGraph(0)
