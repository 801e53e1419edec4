"""NKD and WTTM: cross-entropy and one loss of the logits."""

import modern_logit_equations as equations
import pytest
import relational_equations
import torch

from trg_pyg.distillers import NKD, WTTM


def of_nkd(student, teacher, target, gamma=1.5, tau=1.0):
    return equations.nkd(student.logits, teacher.logits.detach(), target, gamma, tau)


def of_wttm(student, teacher, target, gamma=0.1):
    return equations.wttm(student.logits, teacher.logits.detach(), gamma)


@pytest.mark.parametrize(
    ("cls", "equation", "weight", "options"),
    [
        (NKD, of_nkd, 1.0, {}),
        (NKD, of_nkd, 1.0, {"gamma": 3.5, "tau": 3.0}),
        (WTTM, of_wttm, 45.0, {}),
        (WTTM, of_wttm, 45.0, {"gamma": 0.7}),
    ],
)
def test_total_is_cross_entropy_and_the_loss_in_its_published_weight(
    cls, equation, weight, options, networks, outputs, step, close
):
    student, teacher = outputs(4, dtype=torch.float64)
    losses = cls(*networks, **options)(student, teacher, step(4))
    loss = equation(student, teacher, step(4).target, **options)
    assert losses.parts[cls.__name__.lower()].item() == pytest.approx(loss.item(), rel=1e-6)
    expected = relational_equations.cross_entropy(student.logits, step(4).target) + weight * loss
    close(losses.total, expected, [student.logits, teacher.logits])


def test_nkd_needs_one_class_an_image_and_wttm_does_not(networks):
    assert NKD(*networks).labels == "smooth"
    assert WTTM(*networks).labels == "mixed"
