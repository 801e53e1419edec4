import math

import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD
from torch import Tensor
from torch.nn.functional import normalize

from trg_pyg.divergences import bank_info_nce, info_nce
from trg_pyg.errors import InputError


def draw(seed: int, *shape: int) -> Tensor:
    """Unit vectors."""
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def mask(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.5


def test_one_anchor_written_out():
    anchor, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    pool = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8]])
    loss = bank_info_nce(anchor, positive, pool, torch.tensor([[True, True, False]]), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(2) + math.exp(-2)))


@settings(max_examples=40)
@given(
    items=st.integers(1, 6),
    pool=st.integers(0, 9),
    width=st.integers(1, 5),
    temperature=st.sampled_from([0.05, 0.5, 3.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, items, pool, width, temperature, seed):
    inputs = [draw(seed + i, n, width).requires_grad_() for i, n in enumerate((items, items, pool))]
    allowed = mask(seed, items, pool)
    expected = equations.bank_info_nce(*inputs, allowed, temperature)
    close(bank_info_nce(*inputs, allowed, temperature), expected, inputs)


@pytest.mark.parametrize("kind", [kind for kind in HARD if kind != "large"])
def test_hard_inputs_equal_the_equation(kind, hard, close):
    inputs = [hard(kind, n, 4, seed=i).requires_grad_() for i, n in enumerate((5, 5, 8))]
    allowed = mask(0, 5, 8)
    close(bank_info_nce(*inputs, allowed, 0.3), equations.bank_info_nce(*inputs, allowed, 0.3), inputs)


def test_the_other_positives_as_pool_give_info_nce():
    anchor, positive = draw(0, 6, 4), draw(1, 6, 4)
    loss = bank_info_nce(anchor, positive, positive, ~torch.eye(6, dtype=torch.bool), 0.1)
    torch.testing.assert_close(loss, info_nce(anchor, positive, 0.1))


def test_what_is_not_allowed_adds_nothing():
    anchor, positive, pool = draw(0, 3, 4).requires_grad_(), draw(1, 3, 4), draw(2, 8, 4)
    allowed = mask(0, 3, 8)
    allowed[:, 5:] = False
    loss = bank_info_nce(anchor, positive, pool, allowed, 0.1)
    changed = torch.cat([pool[:5], 1e6 * pool[5:]]).requires_grad_()
    same = bank_info_nce(anchor, positive, changed, allowed, 0.1)
    assert torch.equal(same, loss)
    assert torch.equal(*(torch.autograd.grad(value, anchor, retain_graph=True)[0] for value in (same, loss)))
    (grad,) = torch.autograd.grad(same, changed)
    assert not grad[5:].any()
    assert grad[:5].any()


def test_without_negatives_the_loss_is_zero():
    anchor = draw(0, 3, 4).requires_grad_()
    loss = bank_info_nce(anchor, draw(1, 3, 4), draw(2, 8, 4), torch.zeros(3, 8, dtype=torch.bool), 0.1)
    loss.backward()
    assert loss == 0
    assert not anchor.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_is_near_float64(dtype):
    anchor, positive, pool = draw(0, 3, 4).to(dtype).requires_grad_(), draw(1, 3, 4).to(dtype), draw(2, 8, 4).float()
    allowed = mask(0, 3, 8)
    exact = bank_info_nce(anchor.double(), positive.double(), pool.double(), allowed, 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        loss = bank_info_nce(anchor, positive, pool, allowed, 0.07)
        loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    assert anchor.grad.isfinite().all()


def test_messages():
    x, pool, allowed = torch.zeros(2, 3), torch.zeros(5, 3), torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(InputError, match="temperature=0"):
        bank_info_nce(x, x, pool, allowed, 0)
    with pytest.raises(InputError, match=r"\(2, 3\) and positives \(4, 3\)"):
        bank_info_nce(x, torch.zeros(4, 3), pool, allowed, 0.1)
    with pytest.raises(InputError, match=r"allowed \(5, 2\)"):
        bank_info_nce(x, x, pool, allowed.T, 0.1)
    with pytest.raises(InputError, match=r"pool \(5, 4\)"):
        bank_info_nce(x, x, torch.zeros(5, 4), allowed, 0.1)
