import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.nn import Projection


def test_is_a_linear_map():
    projection = Projection(2, 1)
    with torch.no_grad():
        projection.weight.copy_(torch.tensor([[2.0, -1.0]]))
        projection.bias.fill_(0.5)
    assert projection(torch.tensor([[[1.0, 1.0], [3.0, 0.0]]])).tolist() == [[[1.5], [6.5]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tokens_are_projected_in_float32(dtype):
    torch.manual_seed(0)
    projection, tokens = Projection(4, 3), torch.randn(5, 4).to(dtype)
    out = projection(tokens)
    assert out.dtype == torch.float32
    assert torch.equal(out, projection(tokens.float()))


def test_autocast_does_not_lower_the_precision():
    torch.manual_seed(0)
    projection, tokens = Projection(4, 3), torch.randn(5, 4)
    expected = projection(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        out = projection(tokens)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected)


def test_double_precision():
    out = Projection(4, 3).double()(torch.randn(5, 4, dtype=torch.float64))
    assert out.dtype == torch.float64


@pytest.mark.parametrize(("width", "out"), [(0, 4), (4, 0), (4, -1)])
def test_widths_are_positive(width, out):
    with pytest.raises(InputError, match=f"from {width} to {out}"):
        Projection(width, out)
