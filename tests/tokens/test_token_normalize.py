import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw

from trg_pyg.tokens import full_precision, l2_normalize, normalize, tell_of_zeros


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


@settings(max_examples=60)
@given(
    exponent=st.integers(-30, 30),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_the_length_of_a_vector_does_not_matter_and_its_gradient_is_its_reciprocals(exponent, dtype, seed):
    x, weight = draw(seed, 6, 8).to(dtype), draw(seed + 1, 6, 8)
    scale = 2.0 ** round(exponent * math.log2(10))  # exact in every type
    short = (x * scale).requires_grad_()
    exact = (x.double() * scale).requires_grad_()
    out, expected = l2_normalize(short), exact / exact.norm(dim=1, keepdim=True)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-6)
    rough = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(short.grad.double() * scale, exact.grad * scale, rtol=rough, atol=rough)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_shortest_vectors_there_are_have_a_direction_and_a_finite_gradient(dtype):
    least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    x = torch.tensor([[0.0, least], [3 * least, -4 * least], [0.0, 0.0]], dtype=dtype).requires_grad_()
    single = x.float().detach().requires_grad_()
    out = l2_normalize(single)
    torch.testing.assert_close(l2_normalize(x), out)
    torch.testing.assert_close(out, torch.tensor([[0, 1], [0.6, -0.8], [0, 0]]))
    out[:, 0].sum().backward()
    assert single.grad.isfinite().all()
    assert single.grad[2].tolist() == [0, 0]


def test_zero_tokens_are_told_of_once(monkeypatch):
    monkeypatch.setattr(normalize, "_told", set())
    tokens = torch.tensor([[[0.0, 0.0], [1e-30, 0.0]]])
    with pytest.warns(UserWarning, match="1 of 2 tokens of resnet8 are zero vectors"):
        tell_of_zeros(tokens, "resnet8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_of_zeros(tokens, "resnet8")
        tell_of_zeros(tokens)
        tell_of_zeros(tokens[:, 1:], "resnet20")
    with pytest.warns(UserWarning, match="tokens of resnet20"):
        tell_of_zeros(tokens, "resnet20")


@pytest.mark.parametrize("magnitude", [1e-12, 1e-5, 1e-2, 1e2, 1e6, 1e15])
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
