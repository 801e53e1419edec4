import loss_equations
import pytest
import relational_equations
import torch

from trg_pyg.distillers import LSKD


def test_total_is_9_times_the_loss_of_z_scores_at_temperature_2_and_a_tenth_of_cross_entropy(
    networks, outputs, step, close
):
    student, teacher = outputs(4, dtype=torch.float64)
    losses = LSKD(*networks)(student, teacher, step(4))
    rows = [
        torch.stack([loss_equations.standardized(row) for row in each])
        for each in (student.logits, teacher.logits.detach())
    ]
    kd = loss_equations.logit_kd(*rows, 2.0)
    assert losses.parts["kd"].item() == pytest.approx(kd.item(), rel=1e-6)
    expected = 0.1 * relational_equations.cross_entropy(student.logits, step(4).target) + 9 * kd
    close(losses.total, expected, [student.logits])
