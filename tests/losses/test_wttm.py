import modern_logit_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.losses import LogitKD, WTTMLoss


def logits(seed: int, *shape: int, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20)
@given(
    batch=st.integers(1, 4),
    classes=st.integers(2, 6),
    gamma=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, classes, gamma, seed):
    student, teacher = logits(seed, batch, classes).requires_grad_(), logits(seed + 1, batch, classes)
    close(WTTMLoss(gamma)(student, teacher), equations.wttm(student, teacher, gamma), [student])


def test_exponent_1_is_the_divergence_at_temperature_1():
    student, teacher = logits(0, 3, 5), logits(1, 3, 5)
    torch.testing.assert_close(WTTMLoss(1.0)(student, teacher), LogitKD(1.0)(student, teacher))


def test_zero_where_the_student_has_the_flattened_logits():
    teacher = logits(0, 3, 5)
    assert WTTMLoss(0.2)(0.2 * teacher + 3, teacher).item() == pytest.approx(0, abs=1e-12)


def test_an_image_of_which_the_teacher_is_sure_weighs_1_and_one_of_which_it_knows_nothing_the_most():
    sure, unsure, gamma = torch.tensor([[100.0, 0.0, 0.0]]), torch.zeros(1, 3), 0.5
    student = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    for teacher, weight in ((sure.double(), 1.0), (unsure.double(), 3**0.5)):
        divergence = LogitKD(1.0)(student, gamma * teacher)
        assert WTTMLoss(gamma)(student, teacher).item() == pytest.approx(weight * divergence.item(), rel=1e-6)


def test_extreme_logits_have_finite_gradients():
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    WTTMLoss()(student, torch.tensor([[-1e4, 1e4, 0.0]])).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.5, float("nan")])
def test_the_exponent_flattens(gamma):
    with pytest.raises(InputError, match=f"gamma={gamma}"):
        WTTMLoss(gamma)
