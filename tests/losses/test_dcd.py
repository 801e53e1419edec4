import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw

from trg_pyg.errors import InputError
from trg_pyg.losses import DCDLoss


@settings(max_examples=20)
@given(images=st.integers(1, 4), theta=st.sampled_from([-1.0, 1.0, 3.0]), seed=st.integers(0, 2**31))
def test_equals_its_equation(close, images, theta, seed):
    """With a factor of the cosines below and above its largest value."""
    torch.manual_seed(seed)
    loss = DCDLoss(3, 4, dim=5, alpha=0.7).double()
    with torch.no_grad():
        loss.theta.fill_(theta), loss.offset.fill_(0.3)
    student, teacher = draw(seed, images, 3).requires_grad_(), draw(seed + 1, images, 4)
    s, t = (
        [equations.unit(layer.weight @ row + layer.bias) for row in rows]
        for layer, rows in ((loss.project_student, student), (loss.project_teacher, teacher))
    )
    factor = loss.theta.exp() if loss.theta.exp() < 10 else torch.tensor(10.0, dtype=torch.float64)
    logits = torch.stack([torch.stack([factor * (a * b).sum() + loss.offset for b in t]) for a in s])
    total = []
    for i in range(images):
        p, q = equations.softmax_row(logits[i]), equations.softmax_row(logits[:, i])
        total.append(-p[i].log() + 0.7 * (q * (q.log() - p.log())).sum())
    projections = [loss.project_student.weight, loss.project_teacher.weight]
    close(loss(student, teacher), torch.stack(total).mean(), [student, loss.theta, *projections])


def test_a_negative_weight_and_a_scale_of_0_are_refused():
    with pytest.raises(InputError, match="alpha=-1: a weight is 0"):
        DCDLoss(3, 4, alpha=-1)
    with pytest.raises(InputError, match="scale=0: it must be positive"):
        DCDLoss(3, 4, scale=0)
