"""Methods that know how many training images each class has: BKD, DiVE and LTKD."""

from types import SimpleNamespace

import modern_logit_equations as equations
import pytest
import relational_equations
import torch

from trg_pyg.distillers import BKD, KD, LTKD, DiVE
from trg_pyg.errors import InputError

COUNTS = [500, 2, 60, 10, 1]
TARGETS = torch.repeat_interleave(torch.arange(5), torch.tensor(COUNTS))


def made(cls, networks, **options):
    method = cls(*networks, **options)
    method.bind(TARGETS, torch.Generator())
    return method


def test_bkd_is_cross_entropy_and_a_teacher_whose_classes_are_weighed(networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    losses = made(BKD, networks)(student, teacher, step(4))
    bkd = equations.bkd(student.logits, teacher.logits.detach(), COUNTS, 0.9999, 2.0)
    assert losses.parts["bkd"].item() == pytest.approx(bkd.item(), rel=1e-6)
    ce = relational_equations.cross_entropy(student.logits, step(4).target)
    close(losses.total, ce + bkd, [student.logits])


@pytest.mark.parametrize(("beta", "start", "progress"), [(0.0, 0.0, 0.5), (0.99, 0.8, 0.79)])
def test_bkd_is_plain_distillation_before_its_start_and_where_all_classes_weigh_the_same(
    beta, start, progress, networks, outputs, step
):
    method = made(BKD, networks, beta=beta, start=start)
    plain = KD(*networks, tau=2.0)(*outputs(), step(progress=progress)).parts["kd"]
    torch.testing.assert_close(method(*outputs(), step(progress=progress)).parts["bkd"], plain)
    assert made(BKD, networks, beta=0.99, start=0.8)(*outputs(), step(progress=0.8)).parts["bkd"] != plain


def test_dive_is_half_balanced_softmax_and_half_a_flattened_teacher(networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    losses = made(DiVE, networks)(student, teacher, step(4))
    ce = equations.balanced_softmax(student.logits, step(4).target, COUNTS)
    dive = equations.dive(student.logits, teacher.logits.detach(), 0.5, 2.0)
    assert losses.parts["ce"].item() == pytest.approx(ce.item(), rel=1e-6)
    assert losses.parts["dive"].item() == pytest.approx(dive.item(), rel=1e-6)
    close(losses.total, 0.5 * ce + 0.5 * dive, [student.logits])


def test_the_logits_that_dive_distils_have_no_prior(networks, outputs, step):
    student, teacher = outputs()
    one, other = made(DiVE, networks, kd_weight=1.0), DiVE(*networks, kd_weight=1.0)
    other.bind(torch.arange(40) % 5, torch.Generator())
    found, expected = (method(student, teacher, step()).parts for method in (one, other))
    assert found["ce"] != expected["ce"]
    assert found["dive"] == expected["dive"]
    assert found["kd"] == expected["kd"]


def test_where_the_recipe_corrects_the_prior_dive_leaves_that_to_it(networks, outputs):
    """A step with a prior of its own, as far as DiVE looks at it."""
    student, _ = outputs()
    given = []

    class Task:
        def supervised(self, outputs, step):
            given.append(outputs.logits)
            return {}

    method = made(DiVE, networks)
    method.task = Task()
    for prior in (None, torch.zeros(5)):
        method.supervised(student, SimpleNamespace(prior=prior))
    assert not torch.equal(given[0], student.logits)
    assert torch.equal(given[1], student.logits)


def test_ltkd_sees_the_training_set(networks, outputs, step):
    student, teacher = outputs(4, dtype=torch.float64)
    found = made(LTKD, networks)(student, teacher, step(4)).parts["ltkd"]
    # By frequency: 0, 2, 3, 1, 4; two, one and two of them.
    groups = [[0, 2], [3], [1, 4]]
    expected = equations.ltkd(student.logits, teacher.logits.detach(), groups, 1.0, 1.0, 4.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("cls", [BKD, DiVE])
def test_a_class_without_an_image_is_named(cls, networks):
    with pytest.raises(InputError, match="class 3 has no training image"):
        cls(*networks).bind(torch.tensor([0, 1, 2, 4]), torch.Generator())


@pytest.mark.parametrize("cls", [BKD, DiVE, LTKD])
def test_a_training_set_that_was_not_shown_is_asked_for(cls, networks, outputs, step):
    with pytest.raises(InputError, match="call bind"):
        cls(*networks)(*outputs(), step())


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (BKD, {"beta": 1.0}),
        (BKD, {"beta": -0.1}),
        (BKD, {"start": 1.5}),
        (DiVE, {"gamma": 0.0}),
        (LTKD, {"alpha": -1.0}),
    ],
    ids=str,
)
def test_impossible_options_are_named(cls, options, networks):
    with pytest.raises(InputError, match=f"^{next(iter(options))}={next(iter(options.values()))}"):
        cls(*networks, **options)
