from dataclasses import replace

import modern_equations as equations
import pytest
import torch
from inputs import HARD

from trg_pyg.distillers import VRM
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo, Outputs

INFO = NetworkInfo(5, (), None)


def classes_of(logits: torch.Tensor) -> torch.Tensor:
    return torch.cat([view.T for view in logits.chunk(2)])


@pytest.mark.parametrize("images", [1, 2, 3])
def test_both_terms_equal_their_equations(images, outputs, step, close):
    """A quarter of 1, 4 or 9 edges between images, and of 25 between classes."""
    distiller, (student, teacher) = VRM(INFO, INFO, pruned=0.25), outputs(2 * images, seed=images, dtype=torch.float64)
    here, goal = replace(step(images), rows=(images, images)), teacher.logits.detach()
    of_images = equations.directions(student.logits, goal, images, images**2 // 4)
    of_classes = equations.directions(classes_of(student.logits), classes_of(goal), 5, 6)
    for name, value in (("image", of_images), ("class", of_classes)):
        close(distiller.terms[name](student, teacher, here), value, [student.logits])


def test_a_single_wrong_image_is_left_out(step, tokens):
    """Of 4 images the student is wrong about one: 4 of 16 edges."""
    teacher = tokens(8, 5)
    student = teacher.clone()
    student[0] = -50 * student[0]
    here, sides = replace(step(4), rows=(4, 4)), (Outputs(student, ()), Outputs(teacher, ()))
    assert VRM(INFO, INFO, pruned=0.25).terms["image"](*sides, here).item() == pytest.approx(0, abs=1e-10)
    assert VRM(INFO, INFO, pruned=0.2).terms["image"](*sides, here) > 1e-2


def test_scale_and_shift_of_all_logits_do_not_matter(step, tokens):
    teacher = tokens(6, 5, dtype=torch.float64)
    sides, here = (Outputs(3 * teacher + 1, ()), Outputs(teacher, ())), replace(step(3), rows=(3, 3))
    for term in VRM(INFO, INFO).terms.values():
        assert term(*sides, here).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", HARD)
def test_hard_logits(kind, hard, step):
    student = hard(kind, 6, 5, dtype=torch.float32).requires_grad_()
    sides = Outputs(student, ()), Outputs(hard(kind, 6, 5, seed=1).float(), ())
    losses = VRM(INFO, INFO)(*sides, replace(step(3), rows=(3, 3)))
    losses.total.backward()
    assert losses.total.isfinite()
    assert student.grad.isfinite().all()


def test_the_second_view_of_an_image_is_its_own_whatever_the_batch_and_leaves_the_global_generator_alone(step):
    images = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    distiller, state = VRM(INFO, INFO), torch.get_rng_state()
    real, virtual = distiller.views(images, step(4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(real, images)
    assert not torch.equal(virtual, images)
    part = replace(step(2), index=torch.tensor([2, 3]))
    assert torch.equal(distiller.views(images[2:], part)[1], virtual[2:])
    assert not torch.equal(distiller.views(images, step(4, seed=1))[1], virtual)


def test_cross_entropy_and_logit_distillation_are_of_the_images_as_they_are(outputs, step):
    student, teacher = outputs(6)
    here = replace(step(3), rows=(3, 3))
    parts = VRM(INFO, INFO, kd_weight=1.0)(student, teacher, here).parts
    changed = [side._replace(logits=torch.cat([side.logits[:3], -side.logits[3:]])) for side in (student, teacher)]
    other = VRM(INFO, INFO, kd_weight=1.0)(*changed, here).parts
    assert (parts["ce"], parts["kd"]) == (other["ce"], other["kd"])
    assert parts["image"] != other["image"]


def test_outputs_of_one_view_are_refused(outputs, step):
    with pytest.raises(InputError, match="VRM compares two views, and was given 1: call see"):
        VRM(INFO, INFO)(*outputs(3), step(3))


def test_images_that_randaugment_does_not_know_are_refused(step):
    with pytest.raises(InputError, match="images of 2 channels, and RandAugment knows grey and colour"):
        VRM(INFO, INFO).views(torch.zeros(3, 2, 8, 8, dtype=torch.uint8), step())


@pytest.mark.parametrize(("option", "value"), [("pruned", 1.0), ("pruned", -0.1), ("magnitude", 31)])
def test_options_out_of_their_range_are_refused(option, value):
    with pytest.raises(InputError, match=f"{option}={value}"):
        VRM(INFO, INFO, **{option: value})
