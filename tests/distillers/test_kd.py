import math

import pytest
import torch

from trg_pyg.distillers import KD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo, Outputs


def test_two_classes_written_out(step):
    # Cross-entropy of equal logits is log 2. Teacher (1/4, 3/4) against (1/2, 1/2) at tau 2, times 4.
    student = Outputs(torch.zeros(1, 2), ())
    teacher = Outputs(torch.tensor([[0.0, 2 * math.log(3)]]), ())
    two = NetworkInfo(2, ())
    losses = KD(two, two, ce_weight=0.3, kd_weight=0.5, tau=2.0)(student, teacher, step(1))
    kd = 4 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert losses.parts["ce"].item() == pytest.approx(math.log(2))
    assert losses.parts["kd"].item() == pytest.approx(kd, rel=1e-5)
    assert losses.total.item() == pytest.approx(0.3 * math.log(2) + 0.5 * kd, rel=1e-5)


def test_default_weights_are_those_of_the_benchmarks(networks, outputs, step):
    losses = KD(*networks)(*outputs(), step())
    expected = 0.1 * losses.parts["ce"] + 0.9 * losses.parts["kd"]
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_missing_teacher_names_the_alternative(networks, outputs, step):
    with pytest.raises(InputError, match="needs a teacher: name one, or choose Vanilla"):
        KD(networks[0], None)
    with pytest.raises(InputError, match="no teacher outputs"):
        KD(*networks)(outputs()[0], None, step())
