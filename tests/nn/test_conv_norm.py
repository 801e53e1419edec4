import pytest
import torch
from inputs import draw

from trg_pyg.errors import InputError
from trg_pyg.nn import ConvNorm


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_grid_stays_and_in_training_each_channel_has_mean_0_and_variance_1(kernel):
    torch.manual_seed(0)
    result = ConvNorm(3, 5, kernel).double()(100 + 7 * draw(0, 4, 3, 5, 2))
    assert result.shape == (4, 5, 5, 2)
    torch.testing.assert_close(result.mean((0, 2, 3)), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(
        result.var((0, 2, 3), correction=0), torch.ones(5, dtype=torch.float64), rtol=1e-3, atol=0
    )


def test_a_single_value_a_channel_is_normalised_as_in_evaluation():
    layer, one = ConvNorm(2, 3), draw(0, 1, 2, 1, 1).float()
    layer(draw(1, 4, 2, 2, 2).float())
    assert torch.equal(layer(one), layer.eval()(one))


def test_half_precision_under_autocast_is_computed_in_float32():
    layer, maps = ConvNorm(2, 3).eval(), draw(0, 2, 2, 3, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(maps)
    assert result.dtype == torch.float32
    assert torch.equal(result, layer(maps.float()))


@pytest.mark.parametrize("channels", [(0, 3, 1), (3, 0, 1), (3, 3, 2)])
def test_what_is_no_convolution_is_refused(channels):
    with pytest.raises(InputError, match=f"convolution from {channels[0]} to {channels[1]} channels with a kernel of"):
        ConvNorm(*channels)


def test_maps_of_other_channels_or_precision_are_refused():
    with pytest.raises(InputError, match=r"map \(2, 4, 3, 3\) for a convolution of 2 channels"):
        ConvNorm(2, 3)(torch.ones(2, 4, 3, 3))
    with pytest.raises(InputError, match="convert one of them"):
        ConvNorm(2, 3)(torch.ones(2, 2, 3, 3, dtype=torch.float64))
