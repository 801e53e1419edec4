from dataclasses import replace

import modern_logit_equations as equations
import pytest
import relational_equations
import torch

from trg_pyg.distillers import MLKD
from trg_pyg.errors import InputError
from trg_pyg.losses import LogitKD

TAUS = (2, 3, 4, 5, 6)
IMAGES = torch.randint(0, 256, (6, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_total_is_that_of_its_equation(networks, outputs, step, close):
    student, teacher = outputs(6, dtype=torch.float64)
    here = replace(step(3), rows=(3, 3))
    losses = MLKD(*networks)(student, teacher, here)
    (weak_s, strong_s), (weak_t, strong_t) = (each.logits.split(3) for each in (student, teacher))
    mlkd = equations.mlkd((weak_s, weak_t.detach()), (strong_s, strong_t.detach()), TAUS)
    ce = sum(relational_equations.cross_entropy(view, here.target) for view in (weak_s, strong_s))
    assert list(losses.parts) == ["ce", "instances", "images", "classes"]
    close(losses.total, 0.1 * ce + 0.9 * mlkd, [student.logits])


def test_standardised_the_divergences_are_and_nothing_else(networks, outputs, step):
    student, teacher = outputs(6)
    here = replace(step(3), rows=(3, 3))
    found, plain = (MLKD(*networks, taus=(2.0,), standardize=on)(student, teacher, here).parts for on in (True, False))
    views = zip(student.logits.split(3), teacher.logits.split(3), strict=True)
    weak, strong = (LogitKD(2.0, standardize=True)(*view) for view in views)
    torch.testing.assert_close(found["instances"], weak / 2 + strong)
    assert all(found[name] == plain[name] for name in ("ce", "images", "classes"))


def test_the_labels_of_both_views_are_mixed_as_the_images_are(networks, outputs, step):
    student, teacher = outputs(6)
    soft = torch.tensor([[0.5, 0.5, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0.2, 0, 0.8]])
    here = replace(step(3), rows=(3, 3), soft=soft)
    ce = -(torch.cat([soft, soft]) * student.logits.log_softmax(1)).sum(1).view(2, 3).mean(1).sum()
    torch.testing.assert_close(MLKD(*networks)(student, teacher, here).parts["ce"], ce.detach())


def test_the_strong_view_of_an_image_depends_on_the_step_and_its_position_alone(networks, step):
    method = MLKD(*networks, magnitude=20)
    weak, strong = method.views(IMAGES, step(6))
    assert torch.equal(weak, IMAGES)
    assert strong.dtype == torch.uint8
    assert (strong != IMAGES).flatten(1).any(1).sum() >= 3
    part = replace(step(6), target=torch.zeros(2, dtype=torch.int64), index=torch.tensor([4, 1]))
    assert torch.equal(method.views(IMAGES[[4, 1]], part)[1], strong[[4, 1]])
    assert not torch.equal(method.views(IMAGES, step(6, seed=1))[1], strong)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"magnitude": 31}, "magnitude=31"), ({"taus": ()}, "taus"), ({"taus": (-1.0,)}, r"=-1\.0")],
    ids=str,
)
def test_impossible_options_are_named(options, message, networks):
    with pytest.raises(InputError, match=message):
        MLKD(*networks, **options)


def test_a_step_without_the_strong_view_is_refused(networks, outputs, step):
    with pytest.raises(InputError, match="MLKD compares two views"):
        MLKD(*networks)(*outputs(3), step(3))


def test_images_of_other_channels_are_refused(networks, step):
    with pytest.raises(InputError, match="images of 2 channels"):
        MLKD(*networks).views(torch.zeros(2, 2, 8, 8, dtype=torch.uint8), step(2))
