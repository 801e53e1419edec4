import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw

from trg_pyg.errors import InputError
from trg_pyg.losses import ProjectorEnsembleLoss


@settings(max_examples=20)
@given(
    images=st.integers(1, 4),
    widths=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    projectors=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, images, widths, projectors, seed):
    torch.manual_seed(seed)
    loss = ProjectorEnsembleLoss(*widths, projectors).double()
    student, teacher = draw(seed, images, widths[0]).requires_grad_(), draw(seed + 1, images, widths[1])
    values = []
    for f, goal in zip(student, teacher, strict=True):
        projected = [(layer.weight @ f + layer.bias).clamp(min=0) for layer in loss.project]
        mean = sum(projected) / projectors
        values.append(1 - (equations.unit(mean) * equations.unit(goal)).sum())
    close(loss(student, teacher), torch.stack(values).mean(), [student, *loss.parameters()])


def test_at_least_one_projector():
    with pytest.raises(InputError, match="projectors=0: there is at least 1"):
        ProjectorEnsembleLoss(3, 4, 0)
