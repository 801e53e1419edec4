import modern_logit_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.losses import WKDLoss


def draw(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20)
@given(
    batch=st.integers(1, 3),
    classes=st.integers(2, 5),
    tau=st.sampled_from([1.0, 8.0]),
    smoothness=st.sampled_from([0.05, 0.5]),
    iterations=st.sampled_from([1, 10]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, classes, tau, smoothness, iterations, seed):
    student, teacher = draw(seed, batch, classes).requires_grad_(), draw(seed + 1, batch, classes)
    target, prototypes = torch.arange(batch) % classes, draw(seed + 2, classes, 3)
    found = WKDLoss(tau, smoothness, iterations)(student, teacher, target, prototypes)
    close(found, equations.wkd(student, teacher, target, prototypes, tau, smoothness, iterations), [student])


def test_to_move_probability_to_a_class_that_is_alike_costs_less_than_to_another():
    prototypes = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    teacher = torch.tensor([[0.0, 40.0, 0.0, 0.0]])
    near, far = torch.tensor([[0.0, 0.0, 40.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 40.0]])
    loss, target = WKDLoss(1.0, smoothness=0.5), torch.tensor([0])
    there, nearby, opposite = (loss(student, teacher, target, prototypes).item() for student in (teacher, near, far))
    assert there < 1e-6
    assert nearby == pytest.approx(1 - 1 / 1.01**0.5, rel=1e-4)
    assert opposite == pytest.approx(2, rel=1e-4)


def test_the_logit_of_the_label_does_not_matter():
    student, teacher, target = draw(0, 2, 4), draw(1, 2, 4), torch.tensor([1, 3])
    other = student.clone()
    other[[0, 1], target] += 5
    prototypes = draw(2, 4, 3)
    assert torch.equal(WKDLoss()(student, teacher, target, prototypes), WKDLoss()(other, teacher, target, prototypes))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tau": 0.0}, "tau=0.0"), ({"smoothness": -1.0}, "smoothness=-1.0"), ({"iterations": 0}, "iterations=0")],
    ids=str,
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        WKDLoss(**options)


def test_there_is_one_prototype_a_class():
    with pytest.raises(InputError, match=r"prototypes \(2, 3\) for 4 classes"):
        WKDLoss()(torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64), torch.zeros(2, 3))
