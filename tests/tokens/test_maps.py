import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models.taps import FeatureInfo
from trg_pyg.tokens import as_map


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
