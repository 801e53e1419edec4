import baseline_equations
import loss_equations
import pytest
import relational_equations
import torch

from trg_pyg.distillers import DKD, KD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


def decoupled(student, teacher, step, alpha, beta, tau):
    return baseline_equations.dkd(student.logits, teacher.logits.detach(), step.target, alpha, beta, tau)


@pytest.mark.parametrize("images", [1, 4])
def test_total_is_cross_entropy_and_the_decoupled_loss(images, networks, outputs, step, close):
    """After the warm-up, of alpha 1, beta 8, tau 4."""
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    losses = DKD(*networks)(student, teacher, step(images))
    dkd = decoupled(student, teacher, step(images), 1, 8, 4)
    assert list(losses.parts) == ["ce", "dkd"]
    assert losses.parts["dkd"].item() == pytest.approx(dkd.item(), rel=1e-6)
    expected = relational_equations.cross_entropy(student.logits, step(images).target) + dkd
    close(losses.total, expected, [student.logits, teacher.logits, *student.features, student.embedding])


def test_options_arrive(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    options = {"alpha": 0.5, "beta": 3.0, "tau": 2.0, "weight": 1.5, "ce_weight": 0.25, "kd_weight": 2.0}
    losses = DKD(*networks, **options)(student, teacher, step())
    assert torch.equal(losses.parts["kd"], KD(*networks, tau=2.0)(student, teacher, step()).parts["kd"])
    expected = (
        0.25 * relational_equations.cross_entropy(student.logits, step().target)
        + 2 * relational_equations.logit_kd(student.logits, teacher.logits.detach(), 2.0)
        + 1.5 * decoupled(student, teacher, step(), 0.5, 3.0, 2.0)
    )
    close(losses.total, expected, [student.logits])


@pytest.mark.parametrize(
    ("options", "progress", "share"),
    [
        ({}, 0.0, 0),
        ({}, 1 / 24, 0.5),
        ({}, 1 / 12, 1),
        ({}, 1.0, 1),
        ({"warmup": 0.5}, 0.125, 0.25),
        ({"warmup": 1}, 0.75, 0.75),
        ({"warmup": 0}, 0.0, 1),
    ],
)
def test_the_weight_grows_linearly_over_the_warm_up(options, progress, share, networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    here = step(progress=progress)
    distiller = DKD(*networks, weight=3.0, **options)
    assert distiller.weight_of("dkd", here) == pytest.approx(3 * share)
    losses = distiller(student, teacher, here)
    dkd = decoupled(student, teacher, here, 1, 8, 4)
    # The part is unweighted at all times.
    assert losses.parts["dkd"].item() == pytest.approx(dkd.item(), rel=1e-6)
    expected = relational_equations.cross_entropy(student.logits, here.target) + 3 * share * dkd
    close(losses.total, expected, [student.logits])


def test_only_the_decoupled_loss_is_warmed_up(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    losses = DKD(*networks, kd_weight=1.0)(student, teacher, step(progress=0.0))
    expected = relational_equations.cross_entropy(student.logits, step().target)
    expected = expected + relational_equations.logit_kd(student.logits, teacher.logits.detach(), 4.0)
    close(losses.total, expected, [student.logits])


def test_standardised_both_its_own_loss_and_logit_distillation_are_those_of_z_scores(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    scores = [
        each._replace(logits=torch.stack([loss_equations.standardized(row) for row in each.logits]))
        for each in (student, teacher)
    ]
    losses = DKD(*networks, kd_weight=1.0, standardize=True)(student, teacher, step())
    expected = DKD(*networks, kd_weight=1.0, ce_weight=0.0)(*scores, step()).total
    close(losses.total, expected + relational_equations.cross_entropy(student.logits, step().target), [student.logits])


def test_nothing_but_logits_is_needed(networks, outputs, step):
    bare = [NetworkInfo(info.num_classes, ()) for info in networks]
    student, teacher = (o._replace(features=(), embedding=None) for o in outputs())
    distiller = DKD(*bare)
    assert distiller.taps == "none"
    assert not list(distiller.parameters())
    assert distiller(student, teacher, step()).total.isfinite()


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": -1},
        {"beta": -0.5},
        {"warmup": -0.1},
        {"warmup": 1.5},
    ],
    ids=str,
)
def test_impossible_options_are_named(options, networks):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"^{name}={value}"):
        DKD(*networks, **options)
