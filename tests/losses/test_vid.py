import math

import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD, draw
from torch import Tensor, nn

from trg_pyg.errors import InputError
from trg_pyg.losses import VIDLoss


def weights(loss: VIDLoss) -> list[Tensor]:
    return [layer.weight[:, :, 0, 0] for layer in loss.regressor if isinstance(layer, nn.Conv2d)]


@settings(max_examples=25)
@given(
    images=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    student_grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    teacher_grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    eps=st.sampled_from([1e-5, 0.1]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, images, channels, student_grid, teacher_grid, eps, seed):
    torch.manual_seed(seed)
    loss = VIDLoss(*channels, eps=eps).double()
    nn.init.normal_(loss.log_scale)
    student = draw(seed, images, channels[0], *student_grid).requires_grad_()
    teacher = draw(seed + 1, images, channels[1], *teacher_grid)
    expected = equations.vid(student, teacher, weights(loss), loss.log_scale, eps)
    close(loss(student, teacher), expected, [student, *loss.parameters()])


@pytest.mark.parametrize("kind", HARD)
def test_hard_inputs_equal_the_equation(kind, hard, close):
    torch.manual_seed(0)
    loss = VIDLoss(5, 3).double()
    student = hard(kind, 4, 20).view(4, 5, 2, 2).requires_grad_()
    teacher = hard(kind, 4, 12, seed=1).view(4, 3, 2, 2)
    expected = equations.vid(student, teacher, weights(loss), loss.log_scale, 1e-5)
    close(loss(student, teacher), expected, [student, *loss.parameters()])


@pytest.mark.parametrize("variance", [1e-3, 0.5, 5.0, 1000.0])
def test_starts_with_the_variance(variance):
    """Of a zero map nothing is predicted: what is left is (t^2 / var + log var) / 2."""
    loss = VIDLoss(2, 3, init_variance=variance).double()
    teacher = draw(0, 2, 3, 2, 2)
    expected = 0.5 * (teacher.square().mean().item() / variance + math.log(variance))
    assert loss(torch.zeros(2, 2, 2, 2).double(), teacher).item() == pytest.approx(expected, rel=1e-4)
    assert loss.log_scale.shape == (3,)


def test_hidden_layers_have_the_teachers_width():
    shapes = [tuple(w.shape) for w in weights(VIDLoss(2, 3))]
    assert shapes == [(3, 2), (3, 3), (3, 3)]
    assert len(list(VIDLoss(2, 3).parameters())) == 4  # no biases


def test_a_small_variance_pays_where_the_prediction_is_exact():
    loss = VIDLoss(2, 3)
    nn.init.constant_(loss.log_scale, -20.0)
    assert loss(torch.zeros(2, 2, 2, 2), torch.zeros(2, 3, 2, 2)).item() < 0


def test_messages():
    loss = VIDLoss(2, 3)
    with pytest.raises(InputError, match=r"\(2, 1\) channels, but the loss was made for \(2, 3\)"):
        loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))  # would broadcast
    with pytest.raises(InputError, match="both must be"):
        loss(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"init_variance=1e-05.*above eps=1e-05"):
        VIDLoss(2, 3, init_variance=1e-5)
    with pytest.raises(InputError, match="eps=0"):
        VIDLoss(2, 3, eps=0)
    with pytest.raises(InputError, match="3 channels from 0"):
        VIDLoss(0, 3)
