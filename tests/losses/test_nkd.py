import math

import modern_logit_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.losses import NKDLoss


def logits(seed: int, *shape: int, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20)
@given(
    batch=st.integers(1, 4),
    classes=st.integers(2, 6),
    gamma=st.sampled_from([0.0, 1.5]),
    tau=st.sampled_from([1.0, 3.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, classes, gamma, tau, seed):
    student, teacher = logits(seed, batch, classes).requires_grad_(), logits(seed + 1, batch, classes)
    target = torch.arange(batch) % classes
    found = NKDLoss(gamma, tau)(student, teacher, target)
    close(found, equations.nkd(student, teacher, target, gamma, tau), [student])


def test_of_equal_logits_each_part_is_a_cross_entropy():
    # Four classes: 1/4 log 4 of the label, log 3 of the others.
    loss = NKDLoss(gamma=2.0)(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 3]))
    assert loss.item() == pytest.approx(math.log(4) / 4 + 2 * math.log(3))


def test_the_temperature_is_of_the_other_classes_alone():
    student, teacher, target = logits(0, 3, 5), logits(1, 3, 5), torch.tensor([0, 1, 2])
    assert NKDLoss(0.0, 1.0)(student, teacher, target) == NKDLoss(0.0, 7.0)(student, teacher, target)


def test_of_two_classes_there_is_one_other_which_takes_all():
    student, teacher = logits(0, 3, 2), logits(1, 3, 2)
    target = torch.tensor([0, 1, 0])
    torch.testing.assert_close(NKDLoss(9.0)(student, teacher, target), NKDLoss(0.0)(student, teacher, target))


@pytest.mark.parametrize("options", [{"gamma": -1.0}, {"tau": 0.0}], ids=str)
def test_impossible_options_are_named(options):
    with pytest.raises(InputError, match=f"^{next(iter(options))}={next(iter(options.values()))}"):
        NKDLoss(**options)


def test_one_class_has_no_others():
    with pytest.raises(InputError, match="needs 2 classes"):
        NKDLoss()(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
