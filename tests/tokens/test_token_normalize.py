import pytest
import torch

from trg_pyg.tokens import full_precision, l2_normalize


def test_vectors_get_unit_length_and_keep_their_direction():
    assert l2_normalize(torch.tensor([[3.0, 4.0], [0.0, -2.0]])).tolist() == [
        pytest.approx([0.6, 0.8]),
        pytest.approx([0.0, -1.0]),
    ]


def test_a_zero_vector_stays_zero_and_passes_no_gradient():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    out = l2_normalize(x)
    out[:, 0].sum().backward()
    assert out[0].tolist() == [0, 0]
    assert x.grad[0].tolist() == [0, 0]
    # d/dx of x / |x| is 1/|x| - x^2/|x|^3 = 1/5 - 9/125
    assert x.grad[1].tolist() == pytest.approx([0.128, -0.096])


def test_vectors_up_to_eps_count_as_zero():
    x = torch.tensor([[9e-7, 0.0], [2e-6, 0.0]], dtype=torch.float64, requires_grad=True)
    out = l2_normalize(x)
    out.sum().backward()
    assert out.tolist() == [[0, 0], pytest.approx([1, 0])]
    assert x.grad[0].tolist() == [0, 0]


@pytest.mark.parametrize("magnitude", [1e-5, 1e-2, 1e2, 1e6, 1e15])
def test_scale_does_not_matter(magnitude):
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(l2_normalize(x * magnitude), l2_normalize(x))


def test_gradcheck():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(l2_normalize, (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    # The squares overflow float16, whose largest number is 65504.
    x = torch.tensor([[3000.0, 4000.0]], dtype=dtype)
    out = l2_normalize(x)
    assert out.dtype == torch.float32
    assert out[0].tolist() == pytest.approx([0.6, 0.8], rel=1e-2)


def test_full_precision_leaves_float32_and_float64():
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert full_precision(single) is single
    assert full_precision(double) is double
    assert full_precision(single.half()).dtype == torch.float32
    assert full_precision(single.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_hidden(bad):
    normalized = l2_normalize(torch.tensor([[1.0, bad], [3.0, 4.0]]))
    assert normalized[0].isnan().any()
    assert normalized[1].tolist() == pytest.approx([0.6, 0.8])
