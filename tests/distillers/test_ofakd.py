import modern_equations as equations
import pytest
import torch

from trg_pyg.distillers import KD, OFAKD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


@pytest.mark.parametrize(("exponent", "tau"), [(1.0, 1.0), (1.5, 2.0)])
def test_logits_and_stages_equal_the_equation(exponent, tau, networks, outputs, step, close):
    torch.manual_seed(0)
    terms = OFAKD(*networks, exponent=exponent, ofa_tau=tau).double().terms
    student, teacher = outputs(3, dtype=torch.float64)
    goal, target = teacher.logits.detach(), step(3).target
    expected = equations.ofa(student.logits, goal, target, exponent, tau)
    close(terms["logits"](student, teacher, step(3)), expected, [student.logits])
    for stage in (-1, -2):
        term, feature = terms[f"stage{stage}"], student.features[stage]
        logits = equations.branch(feature, term.conv, term.classify)
        expected = equations.ofa(logits, goal, target, exponent, tau)
        close(term(student, teacher, step(3)), expected, [feature, *term.parameters()])


def test_an_exponent_of_1_is_kd_at_temperature_1_and_the_teachers_entropy(networks, outputs, step):
    student, teacher = outputs()
    entropy = torch.distributions.Categorical(logits=teacher.logits.detach()).entropy().mean()
    kd = KD(*networks, tau=1.0)(student, teacher, step()).parts["kd"]
    torch.testing.assert_close(OFAKD(*networks)(student, teacher, step()).parts["logits"], kd + entropy)


def test_the_published_weights_are_1(networks, outputs, step):
    total, parts = OFAKD(*networks)(*outputs(), step())
    assert list(parts) == ["ce", "logits", "stage-2", "stage-1"]
    torch.testing.assert_close(total.detach(), sum(parts.values()))


def test_a_student_without_a_tap_is_refused(networks):
    with pytest.raises(InputError, match="stage -1 of the student, which has 0 tapped features"):
        OFAKD(NetworkInfo(5, (), 7), networks[1])


@pytest.mark.parametrize("option", ["exponent", "ofa_tau"])
def test_exponent_and_temperature_are_positive(option, networks):
    with pytest.raises(InputError, match=f"{option}=0: it must be positive"):
        OFAKD(*networks, **{option: 0})
