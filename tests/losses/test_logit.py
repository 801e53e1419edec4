import math

import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.losses import LogitKD, standardized


def logits(seed: int, *shape: int, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_classes_written_out():
    # softmax(0, log 3) = (1/4, 3/4), softmax(0, 0) = (1/2, 1/2): KL = 1/4 log 1/2 + 3/4 log 3/2
    teacher, student = torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2)
    assert LogitKD(tau=1)(student, teacher).item() == pytest.approx(0.1308120, rel=1e-5)
    # The same distributions at tau 4, times 16
    assert LogitKD(tau=4)(student, 4 * teacher).item() == pytest.approx(16 * 0.1308120, rel=1e-5)


@settings(max_examples=30)
@given(
    batch=st.integers(1, 5),
    classes=st.integers(2, 7),
    tau=st.sampled_from([0.5, 1.0, 4.0, 20.0]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, classes, tau, scale, seed):
    student = logits(seed, batch, classes, scale=scale).requires_grad_()
    teacher = logits(seed + 1, batch, classes, scale=scale)
    close(LogitKD(tau)(student, teacher), equations.logit_kd(student, teacher, tau), [student])


@settings(max_examples=20)
@given(
    batch=st.integers(1, 4),
    classes=st.integers(2, 7),
    tau=st.sampled_from([0.5, 2.0]),
    scale=st.sampled_from([1e-3, 30.0]),
    seed=st.integers(0, 2**31),
)
def test_standardised_it_is_that_of_the_z_scores_of_each_row(close, batch, classes, tau, scale, seed):
    student = logits(seed, batch, classes, scale=scale).requires_grad_()
    teacher = logits(seed + 1, batch, classes, scale=5.0)
    rows = [torch.stack([equations.standardized(row) for row in each]) for each in (student, teacher)]
    close(LogitKD(tau, standardize=True)(student, teacher), equations.logit_kd(*rows, tau), [student])


def test_standardised_logits_are_compared_whatever_their_scale():
    z = logits(0, 3, 5)
    assert LogitKD(standardize=True)(7 * z - 2, z).item() == pytest.approx(0, abs=1e-12)


def test_a_row_of_equal_logits_is_zero_when_standardised_and_its_gradient_is_finite():
    student = torch.full((1, 3), 4.0, requires_grad=True)
    teacher = torch.tensor([[0.0, 0.0, 3.0]])
    loss = LogitKD(1.0, standardize=True)(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(LogitKD(1.0)(torch.zeros(1, 3), standardized(teacher)).item())
    assert student.grad.isfinite().all()


def test_one_class_cannot_be_standardised():
    with pytest.raises(InputError, match=r"logits \(2, 1\): one class has no deviation"):
        LogitKD(standardize=True)(torch.zeros(2, 1), torch.zeros(2, 1))


def test_zero_where_the_logits_are_equal_up_to_a_constant():
    z = logits(0, 3, 5)
    assert LogitKD()(z, z) == 0
    assert LogitKD()(z, z + torch.tensor([[1.0], [-7.0], [100.0]])).item() == pytest.approx(0, abs=1e-12)


def test_a_constant_a_row_does_not_matter():
    student, teacher = logits(0, 3, 5), logits(1, 3, 5)
    shift = torch.tensor([[50.0], [0.0], [-3.0]], dtype=torch.float64)
    loss = LogitKD()(student, teacher)
    torch.testing.assert_close(LogitKD()(student + shift, teacher), loss)
    torch.testing.assert_close(LogitKD()(student, teacher + shift), loss)


def test_the_mean_runs_over_the_batch():
    student, teacher = logits(0, 4, 5), logits(1, 4, 5)
    single = [LogitKD()(student[i : i + 1], teacher[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(LogitKD()(student, teacher), torch.stack(single).mean())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_a_float32_loss(dtype):
    student, teacher = logits(0, 4, 5).to(dtype), logits(1, 4, 5).to(dtype)
    loss = LogitKD()(student, teacher)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(equations.logit_kd(student.double(), teacher.double(), 4.0).item(), rel=1e-5)


def test_extreme_logits_have_finite_gradients():
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = LogitKD(1.0)(student, torch.tensor([[-1e4, 1e4, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert student.grad.tolist() == [pytest.approx([1.0, -1.0, 0.0])]


@pytest.mark.parametrize("tau", [0, -1.0, float("nan")])
def test_temperature_is_positive(tau):
    with pytest.raises(InputError, match=f"tau={tau}"):
        LogitKD(tau)


def test_other_classes_are_refused():
    with pytest.raises(InputError, match=r"\(2, 10\).*\(2, 100\)"):
        LogitKD()(torch.zeros(2, 10), torch.zeros(2, 100))
