import modern_logit_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.losses import ProbabilityGram


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20)
@given(
    batch=st.integers(1, 4),
    classes=st.integers(1, 5),
    between=st.sampled_from(["images", "classes"]),
    taus=st.sampled_from([(1.0,), (2.0, 5.0)]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, batch, classes, between, taus, seed):
    student, teacher = logits(seed, batch, classes).requires_grad_(), logits(seed + 1, batch, classes)
    expected = sum(equations.gram(student, teacher, between, tau) for tau in taus)
    close(ProbabilityGram(between, taus)(student, teacher), expected, [student])


def test_between_images_the_order_of_the_classes_does_not_matter_and_between_classes_that_of_the_images():
    student, teacher = logits(0, 3, 4), logits(1, 3, 4)
    for between, dim in (("images", 1), ("classes", 0)):
        loss = ProbabilityGram(between)
        torch.testing.assert_close(loss(student.flip(dim), teacher), loss(student, teacher))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"taus": ()}, "taus"), ({"taus": (2.0, 0.0)}, r"taus=0\.0"), ({"between": "rows"}, "between='?rows")],
    ids=str,
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        ProbabilityGram(**options)
