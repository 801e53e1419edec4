import modern_logit_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.losses import DKDLoss, LogitKD, SDDLoss


def scores(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20)
@given(
    batch=st.integers(1, 4),
    classes=st.integers(2, 4),
    grids=st.sampled_from([(1,), (1, 2), (1, 2, 4), (4,)]),
    tau=st.sampled_from([1.0, 4.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, classes, grids, tau, seed):
    student, teacher = scores(seed, batch, classes, 8, 4).requires_grad_(), scores(seed + 1, batch, classes, 4, 4)
    target = torch.arange(batch) % classes
    found = SDDLoss(grids, tau=tau)(student, teacher, target)
    close(found, equations.sdd(student, teacher, target, grids, tau, 2.0), [student])


@pytest.mark.parametrize(("form", "plain"), [("kd", LogitKD(2.0)), ("dkd", DKDLoss(0.5, 3.0, 2.0))])
def test_of_the_whole_image_alone_it_is_the_loss_of_its_logits(form, plain):
    student, teacher, target = scores(0, 3, 5, 4, 4), scores(1, 3, 5, 4, 4), torch.tensor([0, 1, 2])
    found = SDDLoss((1,), form, tau=2.0, alpha=0.5, beta=3.0)(student, teacher, target)
    logits = student.mean((2, 3)), teacher.mean((2, 3))
    torch.testing.assert_close(found, plain(*logits, target) if form == "dkd" else plain(*logits))


def test_of_equal_weights_it_is_the_mean_over_the_regions():
    student, teacher, target = scores(0, 2, 3, 2, 2), scores(1, 2, 3, 2, 2), torch.tensor([0, 1])
    loss = SDDLoss((2,), "dkd", complementary=1.0)
    places = [each.flatten(2).transpose(1, 2).flatten(0, 1) for each in (student, teacher)]
    torch.testing.assert_close(loss(student, teacher, target), DKDLoss()(*places, target.repeat_interleave(4)))


def test_a_region_weighs_more_where_the_teacher_is_right_about_it_or_the_whole_but_not_both():
    # The left half says class 0, more clearly than the right half class 1; the whole says class 0.
    teacher = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]]]], dtype=torch.float64)
    student = torch.zeros(1, 2, 1, 2, dtype=torch.float64)
    wide = (each.expand(-1, -1, 2, -1) for each in (student, teacher))
    student, teacher = (each.contiguous() for each in wide)
    left, right = (LogitKD()(student[..., 0, i], teacher[..., 0, i]) for i in range(2))
    for target, weights in ((0, (1, 2)), (1, (1, 2))):  # right about the whole and the left half; about the right one
        found = SDDLoss((2,))(student, teacher, torch.tensor([target]))
        torch.testing.assert_close(found, (weights[0] * left + weights[1] * right) / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grids": ()}, r"grids=\(\)"),
        ({"grids": (0, 2)}, r"grids=\(0, 2\)"),
        ({"form": "nkd"}, "form='?nkd"),
        ({"tau": 0.0}, "tau=0.0"),
        ({"complementary": -1.0}, "complementary=-1.0"),
        ({"beta": -1.0}, "beta=-1.0"),
    ],
    ids=str,
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        SDDLoss(**options)


def test_a_map_has_to_have_the_regions():
    with pytest.raises(InputError, match=r"of maps \(2, 4\): there are no 4x4 regions"):
        SDDLoss()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 4), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(InputError, match="give the same classes"):
        SDDLoss()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, dtype=torch.int64))
