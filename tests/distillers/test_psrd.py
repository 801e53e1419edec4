import modern_equations as equations
import pytest
import torch
from inputs import HARD
from toys import with_embedding

from trg_pyg.distillers import KD, PSRD
from trg_pyg.errors import InputError


@pytest.mark.parametrize("exponent", [4.0, 1.5])
@pytest.mark.parametrize("images", [2, 3, 5])
def test_term_equals_its_equation(images, exponent, networks, outputs, step, close):
    torch.manual_seed(images)
    term = PSRD(*networks, exponent=exponent).double().terms["log_sum"]
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    expected = equations.log_sum(student.embedding, teacher.embedding.detach(), term.project, exponent)
    close(term(student, teacher, step(images)), expected, [student.embedding, term.project.weight])


def test_the_published_weights_are_1_and_1_and_2_at_temperature_1(networks, outputs, step):
    total, parts = PSRD(*networks)(*outputs(), step())
    assert parts["kd"] == KD(*networks, tau=1.0)(*outputs(), step()).parts["kd"]
    torch.testing.assert_close(total.detach(), parts["ce"] + parts["kd"] + 2 * parts["log_sum"])


def test_equal_features_have_a_finite_logarithm_and_a_gradient(step):
    f = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (info_s, out_s), (info_t, out_t) = with_embedding(f), with_embedding(f.detach())
    distiller = PSRD(info_s, info_t)
    torch.nn.init.eye_(distiller.terms["log_sum"].project.weight)
    losses = distiller(out_s, out_t, step(4))
    losses.total.backward()
    assert losses.parts["log_sum"].item() == pytest.approx(-18.42, abs=0.1)
    assert f.grad.isfinite().all()


@pytest.mark.parametrize("kind", HARD)
def test_hard_embeddings(kind, hard, step):
    student = hard(kind, 4, 3, dtype=torch.float32).requires_grad_()
    (info_s, out_s), (info_t, out_t) = with_embedding(student), with_embedding(hard(kind, 4, 5, seed=1).float())
    losses = PSRD(info_s, info_t)(out_s, out_t, step(4))
    losses.total.backward()
    assert losses.total.isfinite()
    assert student.grad.isfinite().all()


def test_an_exponent_is_positive(networks):
    with pytest.raises(InputError, match="exponent=0: it must be positive"):
        PSRD(*networks, exponent=0)
