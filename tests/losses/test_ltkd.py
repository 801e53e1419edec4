import modern_logit_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.losses import LogitKD, LTKDLoss


def logits(seed: int, *shape: int, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(*counts: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def made(*counts: int, **options: float) -> LTKDLoss:
    loss = LTKDLoss(len(counts), **options)
    loss.bind(labels(*counts), torch.Generator())
    return loss


@settings(max_examples=20)
@given(
    batch=st.integers(1, 4),
    alpha=st.sampled_from([0.0, 2.0]),
    beta=st.sampled_from([0.0, 0.5]),
    tau=st.sampled_from([1.0, 4.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, alpha, beta, tau, seed):
    student, teacher = logits(seed, batch, 7).requires_grad_(), logits(seed + 1, batch, 7)
    # By frequency: 4, 0, 6, 2, 5, 1, 3; two, three and two of them.
    loss = made(50, 2, 9, 1, 99, 5, 20, alpha=alpha, beta=beta, tau=tau)
    groups = [[4, 0], [6, 2, 5], [1, 3]]
    close(loss(student, teacher), equations.ltkd(student, teacher, groups, alpha, beta, tau), [student])


@pytest.mark.parametrize(
    ("classes", "sizes"), [(3, [1, 1, 1]), (4, [1, 2, 1]), (5, [2, 1, 2]), (10, [3, 4, 3]), (100, [33, 34, 33])]
)
def test_groups_are_a_third_of_the_classes_each(classes, sizes):
    assert LTKDLoss(classes).sizes == sizes


def test_of_equally_frequent_classes_the_earlier_comes_first_and_empty_ones_are_the_rarest():
    loss = LTKDLoss(4)
    loss.bind(torch.tensor([1, 2, 2, 1]), torch.Generator())
    assert loss.order.tolist() == [1, 2, 0, 3]


def test_a_teacher_that_gives_the_groups_equal_mass_is_not_changed():
    """Within the groups the divergences sum; plain distillation weighs them by the teacher's masses."""
    student, teacher = logits(0, 1, 3), torch.zeros(1, 3, dtype=torch.float64)
    # A group of one class has nothing within it.
    torch.testing.assert_close(made(3, 2, 1)(student, teacher), LogitKD()(student, teacher))


def test_over_a_batch_the_student_that_is_nearest_gives_all_groups_the_same():
    """Of one image, however much of it the teacher gives to the head."""
    teacher = torch.tensor([[9.0, 1.0, -3.0]], dtype=torch.float64)
    assert made(3, 2, 1)(torch.zeros(1, 3, dtype=torch.float64), teacher).item() == pytest.approx(0, abs=1e-12)


def test_the_loss_of_a_batch_is_not_the_mean_of_what_its_images_give():
    student, teacher, loss = logits(0, 2, 3), logits(1, 2, 3), made(3, 2, 1)
    apart = torch.stack([loss(student[i : i + 1], teacher[i : i + 1]) for i in range(2)]).mean()
    assert loss(student, teacher).item() != pytest.approx(apart.item())


def test_what_cannot_be_is_named():
    for options, message in (({"alpha": -1.0}, "alpha=-1.0"), ({"beta": -1.0}, "beta=-1.0"), ({"tau": 0.0}, "tau=0.0")):
        with pytest.raises(InputError, match=f"^{message}"):
            LTKDLoss(5, **options)
    with pytest.raises(InputError, match="2 classes make no three groups"):
        LTKDLoss(2)
    with pytest.raises(InputError, match=r"\(1, 4\).*made for 3 classes"):
        made(3, 2, 1)(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(InputError, match="call bind"):
        LTKDLoss(3)(torch.zeros(1, 3), torch.zeros(1, 3))
