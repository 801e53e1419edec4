import pytest
import torch
from torch.nn.functional import cross_entropy

from trg_pyg.distillers import AnnealingKD
from trg_pyg.errors import InputError


@pytest.mark.parametrize(
    ("tau_max", "progress", "phi"),
    [(10, 0.0, 0.1), (10, 0.0666, 0.1), (10, 0.0667, 0.2), (10, 0.666, 1.0), (3, 0.3, 2 / 3), (1, 0.5, 1.0)],
)
def test_the_teacher_sharpens_in_equal_blocks(tau_max, progress, phi, networks):
    assert AnnealingKD(*networks, tau_max=tau_max).phi(progress) == pytest.approx(phi)


def test_the_first_phase_compares_logits_and_sees_no_label(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    distiller = AnnealingKD(*networks, tau_max=4, stage=0.8)
    here = step(progress=0.5)  # the third of four blocks
    losses = distiller(student, teacher, here)
    rows = [
        (s - 0.75 * t) ** 2 for s, t in zip(student.logits.flatten(), teacher.logits.detach().flatten(), strict=True)
    ]
    close(losses.total, sum(rows) / len(rows), [student.logits])
    here.target.copy_(here.target.flip(0))
    assert torch.equal(distiller(student, teacher, here).total, losses.total)


def test_the_second_phase_is_cross_entropy_with_a_new_optimiser(networks, outputs, step):
    student, teacher = outputs()
    distiller = AnnealingKD(*networks, stage=0.5)
    assert distiller.restarts == (0.5,)
    losses = distiller(student, teacher, step(progress=0.5))
    assert losses.parts.keys() == {"ce"}
    assert torch.equal(losses.total, cross_entropy(student.logits, step().target))


def test_one_phase_alone_has_no_second(networks, outputs, step):
    distiller = AnnealingKD(*networks, stage=1.0, annealing=False)
    assert distiller.restarts == ()
    student, teacher = outputs()
    losses = distiller(student, teacher, step(progress=1.0))
    assert losses.total.item() == pytest.approx((student.logits - teacher.logits).square().mean().item())


@pytest.mark.parametrize("options", [{"tau_max": 0}, {"stage": 0.0}, {"stage": 1.5}], ids=str)
def test_impossible_options_are_named(options, networks):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"{name}={value}"):
        AnnealingKD(*networks, **options)
