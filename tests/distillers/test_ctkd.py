import loss_equations
import pytest
import relational_equations
import torch

from trg_pyg.distillers import CTKD
from trg_pyg.errors import InputError
from trg_pyg.losses import standardized


def test_total_is_a_tenth_of_cross_entropy_and_distillation_at_the_learnt_temperature(networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    method = CTKD(*networks).double()
    losses = method(student, teacher, step(4))
    theta = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    kd = loss_equations.logit_kd(student.logits, teacher.logits.detach(), 1 + 20 / (1 + (-theta).exp()))
    assert losses.parts["ctkd"].item() == pytest.approx(kd.item(), rel=1e-6)
    expected = 0.1 * relational_equations.cross_entropy(student.logits, step(4).target) + 0.9 * kd
    close(losses.total, expected, [student.logits])
    # The temperature's gradient, through both networks, has the other sign.
    (found,) = torch.autograd.grad(losses.total, method.terms["ctkd"].theta)
    (wanted,) = torch.autograd.grad(expected, theta)
    assert wanted != 0
    assert found.item() == pytest.approx(-wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "progress", "strength"),
    [({}, 0.0, 0.0), ({}, 1 / 48, 0.5), ({}, 1 / 24, 1.0), ({"warmup": 0.0}, 0.0, 1.0), ({"warmup": 0.6}, 0.2, 0.25)],
)
def test_the_temperature_begins_to_climb_along_a_cosine(options, progress, strength, networks, outputs, step):
    """It is the same loss at all times."""
    student, teacher = outputs(4)
    method = CTKD(*networks, **options)
    values, slopes = [], []
    for at in (progress, 1.0):
        losses = method(student, teacher, step(4, progress=at))
        values.append(losses.total)
        slopes.append(torch.autograd.grad(losses.total, method.terms["ctkd"].theta)[0].item())
    assert torch.equal(*values)
    assert slopes[0] == pytest.approx(strength * slopes[1], abs=1e-9)


def test_standardised_its_own_loss_is_that_of_z_scores(networks, outputs, step):
    student, teacher = outputs(4)
    scores = [each._replace(logits=standardized(each.logits)) for each in (student, teacher)]
    found = CTKD(*networks, standardize=True)(student, teacher, step(4)).parts["ctkd"]
    torch.testing.assert_close(found, CTKD(*networks)(*scores, step(4)).parts["ctkd"])


@pytest.mark.parametrize("options", [{"lowest": 0.0}, {"span": -1.0}, {"warmup": 2.0}], ids=str)
def test_impossible_options_are_named(options, networks):
    with pytest.raises(InputError, match=f"^{next(iter(options))}={next(iter(options.values()))}"):
        CTKD(*networks, **options)
