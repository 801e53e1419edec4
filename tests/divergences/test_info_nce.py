import math

import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from trg_pyg.divergences import info_nce
from trg_pyg.errors import InputError
from trg_pyg.step import Share

CHUNKS = [1, 200, 1 << 26]  # one row, some rows with a smaller last chunk, all rows


def draw(seed: int, items: int, width: int) -> Tensor:
    return torch.randn(items, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_items_written_out():
    # Both anchors point at the first positive: cosines (1, 0) and (1, 0), at tau 1.
    anchor, positive = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    first, second = -math.log(math.e / (math.e + 1)), -math.log(1 / (math.e + 1))
    assert info_nce(anchor, positive, 1.0).item() == pytest.approx((first + second) / 2)
    assert info_nce(anchor, positive, 1.0, reduction="sum").item() == pytest.approx(first + second)


@settings(max_examples=40)
@given(
    items=st.integers(1, 12),
    width=st.integers(2, 6),
    temperature=st.sampled_from([0.05, 0.5, 3.0]),
    reduction=st.sampled_from(["mean", "sum"]),
    chunk_bytes=st.sampled_from([1, 100, 500, 1 << 26]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, items, width, temperature, reduction, chunk_bytes, seed):
    anchor, positive = draw(seed, items, width).requires_grad_(), draw(seed + 1, items, width).requires_grad_()
    loss = info_nce(anchor, positive, temperature, reduction=reduction, chunk_bytes=chunk_bytes)
    close(loss, equations.info_nce(anchor, positive, temperature, reduction), [anchor, positive])


@pytest.mark.parametrize("kind", ["duplicates", "zeros", "all equal", "one node different", "large", "small", "tiny"])
@pytest.mark.parametrize("chunk_bytes", CHUNKS)
def test_hard_inputs_equal_the_equation(kind, chunk_bytes, hard, close):
    anchor, positive = hard(kind, 8, 5).requires_grad_(), hard(kind, 8, 5, seed=1).requires_grad_()
    loss = info_nce(anchor, positive, 0.07, chunk_bytes=chunk_bytes)
    close(loss, equations.info_nce(anchor, positive, 0.07), [anchor, positive])


@pytest.mark.parametrize("chunk_bytes", [1, 8 * 7 * 3, 1 << 26])  # 7 rows: chunks of 1, of 3 with a last one of 1, of 7
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradcheck(chunk_bytes, reduction):
    anchor, positive = draw(0, 7, 3).requires_grad_(), draw(1, 7, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: info_nce(a, b, 0.3, reduction=reduction, chunk_bytes=chunk_bytes), (anchor, positive)
    )


@pytest.mark.parametrize("chunk_bytes", [1, 8 * 10 * 2, 1 << 26])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_of_shares_have_the_batchs_as_their_mean(chunk_bytes, reduction, close):
    """5 images of 2 items on processes that have 3 and 2 of them; each gathers what the others have."""
    anchor, positive = draw(0, 10, 3).requires_grad_(), draw(1, 10, 3).requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for first, last in ((0, 3), (3, 5)):
        share = Share(first, last, 5, lambda own: normalize(positive, dim=1))
        own = share.rows(10)
        options = {"reduction": reduction, "chunk_bytes": chunk_bytes, "share": share}
        loss = loss + (last - first) / 5 * info_nce(anchor[own], positive[own], 0.3, **options)
    close(loss, equations.info_nce(anchor, positive, 0.3, reduction), [anchor, positive])


@pytest.mark.parametrize("temperature", [0.01, 0.02, 0.025, 0.03])  # row maxima below 1 / 40, none from there on
@pytest.mark.parametrize("chunk_bytes", CHUNKS)
def test_low_temperatures_equal_the_equation(temperature, chunk_bytes, close):
    anchor, positive = draw(0, 9, 3).requires_grad_(), draw(1, 9, 3).requires_grad_()
    loss = info_nce(anchor, positive, temperature, chunk_bytes=chunk_bytes)
    close(loss, equations.info_nce(anchor, positive, temperature), [anchor, positive])


@pytest.mark.parametrize("temperature", [0.005, 0.01, 0.025])
def test_opposite_pairs_at_low_temperatures_neither_overflow_nor_underflow_in_float32(temperature):
    """Each anchor points away from its own positive and at another one: the worst loss, 2 / tau and above."""
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(50, 1)
    anchor = x.clone().requires_grad_()
    loss = info_nce(anchor, -x, temperature)
    loss.backward()
    assert loss.item() == pytest.approx(2 / temperature + math.log(50), rel=1e-5)
    assert anchor.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.025, 0.0278])
def test_an_anchor_opposite_to_a_tight_cluster_of_thousands_equals_the_equation(temperature):
    """The sum is as large as it can be and the own exponential as small: their quotient must not overflow in float32.

    All other anchors are zero, so they add log M each and no gradient: the dense equation is one row.
    """
    items = 8192
    positive = 0.02 * draw(0, items, 3) + torch.tensor([1.0, 0.0, 0.0])
    positive[0] *= -1
    anchor = torch.zeros(items, 3)
    anchor[0] = positive[1]
    anchor, positive = anchor.requires_grad_(), positive.float().requires_grad_()
    loss = info_nce(anchor, positive, temperature, reduction="sum")
    loss.backward()
    exact, others = anchor.detach()[0].double().requires_grad_(), positive.detach().double().requires_grad_()
    expected = -(normalize(others, dim=1) @ normalize(exact, dim=0) / temperature).log_softmax(0)[0]
    expected.backward()
    assert loss.item() == pytest.approx(expected.item() + (items - 1) * math.log(items), rel=1e-6)
    for grad, want in ((anchor.grad[0], exact.grad), (positive.grad, others.grad)):
        torch.testing.assert_close(grad.double(), want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize("side", [0, 1])
def test_gradcheck_of_one_side(chunk_bytes, side):
    fixed, varied = draw(0, 7, 3), draw(1, 7, 3).requires_grad_()

    def loss(x):
        return info_nce(*((x, fixed) if side == 0 else (fixed, x)), 0.3, chunk_bytes=chunk_bytes)

    assert torch.autograd.gradcheck(loss, varied)


@pytest.mark.parametrize(("wanted", "products"), [("nothing", 1), ("one side", 2), ("both", 3), ("no grad mode", 1)])
def test_number_of_matrix_products(wanted, products):
    """Backward makes none, and none is made for a gradient that nobody wants."""
    anchor, positive = draw(0, 6, 3), draw(1, 6, 3)
    anchor.requires_grad_(wanted != "nothing")
    positive.requires_grad_(wanted in ("both", "no grad mode"))
    with torch.profiler.profile() as profile, torch.set_grad_enabled(wanted != "no grad mode"):
        loss = info_nce(anchor, positive, 0.2)
        if loss.requires_grad:
            loss.backward()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts.get("aten::mm", 0) + counts.get("aten::addmm_", 0) == products


def test_gradient_of_one_side_only():
    anchor, positive = draw(0, 5, 3), draw(1, 5, 3)
    left, right = anchor.clone().requires_grad_(), positive.clone().requires_grad_()
    (both,) = torch.autograd.grad(info_nce(left, right, 0.2), left)
    (alone,) = torch.autograd.grad(info_nce(left, positive, 0.2), left)
    torch.testing.assert_close(alone, both)
    (other,) = torch.autograd.grad(info_nce(anchor, right, 0.2), right)
    assert other.abs().sum() > 0


def test_an_item_against_itself():
    """Anchor and positive may be one tensor; both gradients add up."""
    x = draw(0, 6, 3).requires_grad_()
    loss, expected = info_nce(x, x, 0.2, chunk_bytes=100), equations.info_nce(x, x, 0.2)
    torch.testing.assert_close(torch.autograd.grad(loss, x), torch.autograd.grad(expected, x))


def test_backward_twice_gives_the_same_gradient():
    for chunk_bytes in CHUNKS:
        anchor = draw(0, 9, 3).requires_grad_()
        loss = info_nce(anchor, draw(1, 9, 3), 0.2, chunk_bytes=chunk_bytes)
        (first,) = torch.autograd.grad(loss, anchor, retain_graph=True)
        (second,) = torch.autograd.grad(loss, anchor)
        assert torch.equal(first, second)


def test_a_single_item_is_always_right():
    anchor = draw(0, 1, 3).requires_grad_()
    loss = info_nce(anchor, draw(1, 1, 3), 0.07)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert anchor.grad.abs().max() < 1e-12


def test_equal_tokens_cannot_be_told_apart():
    x = torch.ones(6, 3)
    assert info_nce(x, x, 0.07).item() == pytest.approx(math.log(6), rel=1e-6)


def test_orthogonal_matches_approach_zero_with_the_temperature():
    x = torch.eye(6)
    assert info_nce(x, x, 0.5).item() == pytest.approx(math.log(1 + 5 * math.exp(-2)), rel=1e-5)
    assert info_nce(x, x, 0.01).item() == pytest.approx(0, abs=1e-6)


def test_order_length_and_rotation_do_not_matter():
    anchor, positive = draw(0, 9, 4), draw(1, 9, 4)
    loss = info_nce(anchor, positive, 0.2)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(draw(2, 4, 4)).Q
    lengths = draw(3, 9, 1).abs() + 0.1
    torch.testing.assert_close(info_nce(anchor[order], positive[order], 0.2), loss)
    torch.testing.assert_close(info_nce(anchor @ rotation, positive @ rotation, 0.2), loss)
    torch.testing.assert_close(info_nce(anchor * lengths, positive, 0.2), loss)
    assert not torch.allclose(info_nce(anchor[order], positive, 0.2), loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_is_near_float64(dtype):
    anchor, positive = draw(0, 9, 8).to(dtype).requires_grad_(), draw(1, 9, 8).to(dtype)
    loss = info_nce(anchor, positive, 0.07, chunk_bytes=100)
    loss.backward()
    assert loss.dtype == torch.float32
    assert anchor.grad.dtype == dtype
    assert anchor.grad.isfinite().all()
    assert loss.item() == pytest.approx(info_nce(anchor.double(), positive.double(), 0.07).item(), rel=1e-5)


def test_autocast_does_not_lower_the_precision():
    anchor, positive = draw(0, 9, 8).float().requires_grad_(), draw(1, 9, 8).float()
    expected = info_nce(anchor, positive, 0.07)
    (gradient,) = torch.autograd.grad(expected, anchor)
    for chunk_bytes in (100, 1 << 26):
        with torch.autocast("cpu", torch.bfloat16):
            loss = info_nce(anchor, positive, 0.07, chunk_bytes=chunk_bytes)
            loss.backward()  # inside, where a product would be cast as well
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(anchor.grad, gradient, rtol=1e-4, atol=1e-6)
        anchor.grad = None


@pytest.mark.parametrize("magnitude", [1e-5, 1e6, 1e15])
def test_lengths_over_the_range_of_float32(magnitude):
    anchor, positive = draw(0, 6, 4).float(), draw(1, 6, 4).float()
    scaled = (anchor * magnitude).requires_grad_()
    loss = info_nce(scaled, positive * magnitude, 0.1)
    loss.backward()
    torch.testing.assert_close(loss, info_nce(anchor, positive, 0.1), rtol=1e-5, atol=1e-6)
    assert scaled.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_temperature_is_positive(temperature):
    with pytest.raises(InputError, match=f"temperature={temperature}"):
        info_nce(torch.zeros(2, 2), torch.zeros(2, 2), temperature)


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"\(3, 2\).*\(3, 4\)"):
        info_nce(torch.zeros(3, 2), torch.zeros(3, 4), 0.1)
    with pytest.raises(InputError, match="items, width"):
        info_nce(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), 0.1)


def test_unknown_reduction_names_the_choices():
    with pytest.raises(InputError, match="reduction=none: choose mean or sum"):
        info_nce(torch.zeros(2, 2), torch.zeros(2, 2), 0.1, reduction="none")
