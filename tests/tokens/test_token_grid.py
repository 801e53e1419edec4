import torch

from trg_pyg.tokens import common_grid, pool_to_grid


def test_common_grid_is_the_coarser_along_each_axis():
    assert common_grid((8, 8), (4, 4)) == (4, 4)
    assert common_grid((4, 4), (8, 8)) == (4, 4)
    assert common_grid((2, 8), (4, 4)) == (2, 4)


def test_a_map_on_the_grid_is_returned_as_it_is():
    feature_map = torch.randn(1, 2, 3, 4)
    assert pool_to_grid(feature_map, (3, 4)) is feature_map


def test_a_finer_map_is_averaged():
    feature_map = torch.tensor([[[[1.0, 3, 0, 0], [5, 7, 0, 8]]]])
    assert pool_to_grid(feature_map, (1, 2)).tolist() == [[[[4.0, 2.0]]]]


def test_windows_overlap_where_the_grid_does_not_divide():
    # Adaptive pooling from 3 to 2 cells: cells 0-1 and cells 1-2.
    assert pool_to_grid(torch.tensor([[[[0.0, 2, 6]]]]), (1, 2)).tolist() == [[[[1.0, 4.0]]]]
