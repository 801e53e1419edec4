import modern_equations as equations
import pytest
import torch

from trg_pyg.distillers import DIST
from trg_pyg.models.taps import NetworkInfo, Outputs


def of_logits(student: torch.Tensor, teacher: torch.Tensor, **options: float):
    """A method, and the outputs of two networks that have nothing but logits."""
    info = NetworkInfo(student.shape[1], (), None)
    return DIST(info, info, **options), Outputs(student, ()), Outputs(teacher, ())


@pytest.mark.parametrize("images", [1, 2, 3, 6])
def test_both_terms_equal_their_equations(images, networks, outputs, step, close):
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    distiller = DIST(*networks, tau=3.0)
    expected = equations.dist(student.logits, teacher.logits.detach(), 3.0)
    for name, value in zip(("image", "class"), expected, strict=True):
        close(distiller.terms[name](student, teacher, step(images)), value, [student.logits])


def test_the_published_weights_are_2_and_2_at_temperature_4_beside_cross_entropy(networks, outputs, step):
    student, teacher = outputs(4, dtype=torch.float64)
    total, parts = DIST(*networks)(student, teacher, step(4))
    both = sum(equations.dist(student.logits, teacher.logits.detach(), 4.0))
    torch.testing.assert_close(total, parts["ce"] + 2 * both)


def test_shift_and_scale_of_probabilities_do_not_matter(step):
    """Of two classes every pair of probabilities is one of the other, shifted and scaled."""
    student, teacher = torch.tensor([[1.0, 0.0], [2.0, -1.0]]), torch.tensor([[9.0, 0.0], [3.0, 0.2]])
    distiller, ours, theirs = of_logits(student, teacher)
    assert distiller(ours, theirs, step(2)).parts["image"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("equal", ["student", "teacher", "both"])
def test_probabilities_that_are_all_equal_correlate_with_nothing(equal, step, tokens):
    student, teacher = tokens(4, 5), tokens(4, 5, seed=1)
    for name, logits in (("student", student), ("teacher", teacher)):
        if equal in (name, "both"):
            logits.zero_()
    distiller, ours, theirs = of_logits(student.requires_grad_(), teacher, tau=2.0)
    losses = distiller(ours, theirs, step(4))
    losses.total.backward()
    assert losses.parts["image"].item() == pytest.approx(4, rel=1e-5)
    assert losses.parts["class"].item() == pytest.approx(4, rel=1e-5)
    assert student.grad.isfinite().all()


def test_of_one_image_classes_have_no_correlation_and_images_have(step, tokens):
    student = tokens(1, 5).requires_grad_()
    distiller, ours, theirs = of_logits(student, tokens(1, 5, seed=1))
    parts = distiller.weighted_parts(ours, theirs, step(1))
    assert parts["class"][1].item() == 16
    for name, reaches in (("class", False), ("image", True)):
        (grad,) = torch.autograd.grad(parts[name][1], student, retain_graph=True)
        assert bool(grad.any()) == reaches
