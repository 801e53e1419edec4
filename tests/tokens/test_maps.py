import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models.taps import FeatureInfo
from trg_pyg.tokens import as_map, common_grid, pool_to_grid


def test_a_map_is_returned_as_it_is():
    feature = torch.randn(2, 5, 3, 4)
    assert as_map(feature, FeatureInfo("layer3", "map", 5, (3, 4))) is feature


def test_channels_last_become_first():
    feature = torch.randn(2, 3, 4, 5)
    result = as_map(feature, FeatureInfo("norm", "map_last", 5, (3, 4)))
    assert result.shape == (2, 5, 3, 4)
    assert result[1, 4, 2, 3] == feature[1, 2, 3, 4]


def test_a_sequence_loses_its_prefix_and_is_laid_out_row_by_row():
    # One class token (-1), then the tokens of a 2 x 3 grid, of width 1.
    feature = torch.tensor([[[-1.0], [0], [1], [2], [3], [4], [5]]])
    result = as_map(feature, FeatureInfo("blocks", "sequence", 1, (2, 3), prefix_tokens=1))
    assert result.tolist() == [[[[0, 1, 2], [3, 4, 5]]]]


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_no_gradient_reaches_prefix_tokens(prefix):
    feature = torch.randn(2, prefix + 4, 3, requires_grad=True)
    as_map(feature, FeatureInfo("blocks", "sequence", 3, (2, 2), prefix_tokens=prefix)).sum().backward()
    expected = torch.ones(2, prefix + 4, 3)
    expected[:, :prefix] = 0
    assert torch.equal(feature.grad, expected)


@pytest.mark.parametrize(
    ("shape", "info"),
    [
        ((2, 5, 3, 3), FeatureInfo("layer3", "map", 5, (3, 4))),
        ((2, 5, 3, 4), FeatureInfo("layer3", "map_last", 5, (3, 4))),
        ((2, 12, 5), FeatureInfo("layer3", "sequence", 5, (3, 4), prefix_tokens=1)),
        ((2, 12), FeatureInfo("layer3", "map", 12, (1, 1))),
    ],
)
def test_a_feature_of_another_shape_names_the_tap_and_both_shapes(shape, info):
    with pytest.raises(InputError) as error:
        as_map(torch.zeros(shape), info)
    assert "tap layer3" in str(error.value)
    assert str(shape[1:]) in str(error.value)
    assert "\n" not in str(error.value)


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
