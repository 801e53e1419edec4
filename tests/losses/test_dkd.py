import math

import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.losses import DKDLoss, LogitKD


def logits(seed: int, *shape: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(seed: int, batch: int, classes: int) -> Tensor:
    return torch.randint(classes, (batch,), generator=torch.Generator().manual_seed(seed))


def test_three_classes_written_out():
    # Teacher (1/2, 1/8, 3/8), student (1/3, 1/3, 1/3), label 0: b is (1/2, 1/2) and (1/3, 2/3), p^ is (1/4, 3/4) and
    # (1/2, 1/2).
    teacher, student = torch.tensor([[0.5, 0.125, 0.375]]).log(), torch.zeros(1, 3)
    target_class = 0.5 * math.log(0.5 * 3) + 0.5 * math.log(0.5 * 1.5)
    other_classes = 0.25 * math.log(0.25 * 2) + 0.75 * math.log(0.75 * 2)
    target = torch.tensor([0])
    assert DKDLoss(1, 0, 1)(student, teacher, target).item() == pytest.approx(target_class, rel=1e-5)
    assert DKDLoss(0, 1, 1)(student, teacher, target).item() == pytest.approx(other_classes, rel=1e-5)
    # The same distributions at tau 4, times 16
    whole = DKDLoss(2, 3, 4)(student, 4 * teacher, target).item()
    assert whole == pytest.approx(16 * (2 * target_class + 3 * other_classes), rel=1e-5)


@settings(max_examples=30)
@given(
    batch=st.integers(1, 5),
    classes=st.integers(2, 7),
    weights=st.sampled_from([(1.0, 8.0), (1.0, 0.0), (0.0, 1.0), (0.3, 2.0)]),
    tau=st.sampled_from([0.5, 1.0, 4.0, 20.0]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, classes, weights, tau, scale, seed):
    student = logits(seed, batch, classes, scale=scale).requires_grad_()
    teacher, target = logits(seed + 1, batch, classes, scale=scale), labels(seed, batch, classes)
    expected = equations.dkd(student, teacher, target, *weights, tau)
    close(DKDLoss(*weights, tau)(student, teacher, target), expected, [student])


@pytest.mark.parametrize("kind", [kind for kind in HARD if kind != "large"])
def test_hard_inputs_equal_the_equation(kind, hard, close):
    student, teacher, target = hard(kind, 6, 5).requires_grad_(), hard(kind, 6, 5, seed=1), labels(0, 6, 5)
    close(DKDLoss()(student, teacher, target), equations.dkd(student, teacher, target, 1, 8, 4), [student])


def test_plain_distillation_weighs_the_other_classes_by_the_teacher():
    """KL = KL(b) + (1 - p_y) KL(p^), the decomposition that the method starts from."""
    student, teacher, target = logits(0, 1, 6), logits(1, 1, 6), torch.tensor([2])
    beta = 1 - (teacher / 4).softmax(1)[0, 2].item()
    torch.testing.assert_close(DKDLoss(1, beta, 4)(student, teacher, target), LogitKD(4)(student, teacher))


def test_a_constant_a_row_does_not_matter():
    student, teacher, target = logits(0, 3, 5), logits(1, 3, 5), labels(0, 3, 5)
    shift = torch.tensor([[50.0], [0.0], [-3.0]], dtype=torch.float64)
    loss = DKDLoss()(student, teacher, target)
    torch.testing.assert_close(DKDLoss()(student + shift, teacher, target), loss)
    torch.testing.assert_close(DKDLoss()(student, teacher + shift, target), loss)


def test_with_two_classes_the_others_add_nothing():
    student, teacher, target = logits(0, 3, 2), logits(1, 3, 2), labels(0, 3, 2)
    torch.testing.assert_close(DKDLoss(1, 8)(student, teacher, target), LogitKD()(student, teacher))


def test_extreme_logits_have_finite_gradients():
    """p_y rounds to 0 and to 1 in float32; its logarithm does not."""
    student = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 0.0]])
    loss = DKDLoss(1, 1, 1)(student, teacher, torch.tensor([0, 1]))
    loss.backward()
    # Image 0: b goes from 0 to 1 over a margin of 1e4, p^ of classes 1 and 2 over 1e4. Image 1: 2e4 and 1e4.
    assert loss.item() == pytest.approx((1e4 + 1e4 + 2e4 + 1e4) / 2)
    assert student.grad.isfinite().all()


def test_messages():
    target = torch.tensor([0, 0])
    with pytest.raises(InputError, match=r"\(2, 10\).*\(2, 100\)"):
        DKDLoss()(torch.zeros(2, 10), torch.zeros(2, 100), target)
    with pytest.raises(InputError, match="it needs 2 classes"):
        DKDLoss()(torch.zeros(2, 1), torch.zeros(2, 1), target)
    with pytest.raises(InputError, match=r"target \(2,\) of type torch.int64 for logits \(3, 4\)"):
        DKDLoss()(torch.zeros(3, 4), torch.zeros(3, 4), target)
    with pytest.raises(InputError, match="tau=0"):
        DKDLoss(tau=0)
    with pytest.raises(InputError, match="beta=-1"):
        DKDLoss(beta=-1)
