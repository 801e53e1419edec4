import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD, draw
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.losses import CorrelationLoss


def expected(loss: CorrelationLoss, student: Tensor, teacher: Tensor) -> Tensor:
    s = student @ loss.project_student.weight.T + loss.project_student.bias
    t = teacher @ loss.project_teacher.weight.T + loss.project_teacher.bias
    return equations.correlation(s, t)


@settings(max_examples=25)
@given(
    items=st.integers(2, 9),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    dim=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, items, widths, dim, seed):
    torch.manual_seed(seed)
    loss = CorrelationLoss(*widths, dim=dim).double()
    student, teacher = draw(seed, items, widths[0]).requires_grad_(), draw(seed + 1, items, widths[1])
    close(loss(student, teacher), expected(loss, student, teacher), [student, *loss.parameters()])


@pytest.mark.parametrize("kind", HARD)
def test_hard_inputs_equal_the_equation(kind, hard, close):
    torch.manual_seed(0)
    loss = CorrelationLoss(5, 3, dim=4).double()
    student, teacher = hard(kind, 6, 5).requires_grad_(), hard(kind, 6, 3, seed=1)
    close(loss(student, teacher), expected(loss, student, teacher), [student, *loss.parameters()])


def test_zero_where_every_second_image_agrees():
    loss = CorrelationLoss(3, 3, dim=4).double()
    loss.project_teacher.load_state_dict(loss.project_student.state_dict())
    teacher = draw(0, 4, 3)
    student = teacher.clone()
    student[1::2] += 1
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value == 0
    assert student.grad.isfinite().all()  # of an absolute value at 0


def test_messages():
    loss = CorrelationLoss(5, 3)
    with pytest.raises(InputError, match=r"a batch of 1: .* needs at least 2"):
        loss(torch.zeros(1, 5), torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"student rows \(2, 5\) and teacher rows \(3, 3\)"):
        loss(torch.zeros(2, 5), torch.zeros(3, 3))
    with pytest.raises(InputError, match="from 5 to 0"):
        CorrelationLoss(5, 3, dim=0)
