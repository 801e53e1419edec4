import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD, draw

from trg_pyg.errors import InputError
from trg_pyg.losses import AttentionLoss


def test_two_positions_written_out():
    # One channel, activations (1, 2) and (2, 1): attention (1, 4) and (4, 1) over sqrt(17), both entries 3 / sqrt(17)
    # apart.
    student, teacher = torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[[[2.0, 1.0]]]])
    assert AttentionLoss()(student, teacher).item() == pytest.approx(9 / 17)


@settings(max_examples=30)
@given(
    images=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    student_grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    teacher_grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, images, channels, student_grid, teacher_grid, seed):
    student = draw(seed, images, channels[0], *student_grid).requires_grad_()
    teacher = draw(seed + 1, images, channels[1], *teacher_grid)
    close(AttentionLoss()(student, teacher), equations.attention(student, teacher), [student])


@pytest.mark.parametrize("kind", HARD)
def test_hard_inputs_equal_the_equation(kind, hard, close):
    student = hard(kind, 6, 20).view(6, 5, 2, 2).requires_grad_()
    teacher = hard(kind, 6, 12, seed=1).view(6, 3, 2, 2)
    close(AttentionLoss()(student, teacher), equations.attention(student, teacher), [student])


def test_scale_and_order_of_channels_do_not_matter():
    student, teacher = draw(0, 3, 4, 2, 2), draw(1, 3, 5, 2, 2)
    loss = AttentionLoss()(student, teacher)
    scale = draw(2, 3, 1, 1, 1).abs() + 0.1
    torch.testing.assert_close(AttentionLoss()(student[:, [2, 0, 3, 1]] * scale, teacher), loss)


@pytest.mark.parametrize("magnitude", [1e-5, 1e15])
def test_magnitudes_whose_squares_float32_does_not_hold(magnitude):
    student, teacher = draw(0, 3, 4, 3, 3).float(), draw(1, 3, 5, 3, 3).float()
    scaled = (student * magnitude).requires_grad_()
    loss = AttentionLoss()(scaled, teacher)
    loss.backward()
    torch.testing.assert_close(loss, AttentionLoss()(student, teacher))
    assert scaled.grad.isfinite().all()


def test_a_map_without_activations_receives_no_gradient():
    student, teacher = torch.zeros(2, 3, 2, 2, requires_grad=True), draw(0, 2, 3, 2, 2).float()
    loss = AttentionLoss()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 4)  # a unit vector over 4 positions
    assert not student.grad.any()


def test_maps_are_needed():
    with pytest.raises(InputError, match=r"student map \(2, 5\) and teacher map \(2, 3, 4, 4\)"):
        AttentionLoss()(torch.zeros(2, 5), torch.zeros(2, 3, 4, 4))
