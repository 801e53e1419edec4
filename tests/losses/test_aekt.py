import math

import pytest
import torch
from inputs import HARD, draw
from torch import Tensor, stack

from trg_pyg.errors import InputError
from trg_pyg.losses import DKDLoss, ExplicitKnowledgeLoss


def written_out(student, teacher, target, alpha, beta, tau, explicit="binary", ratio=True, most=10.0) -> Tensor:
    """Image by image: tau^2 (alpha e + beta KL(p^_T || p^_S)), with e of the three forms."""
    rows = []
    for z_s, z_t, y in zip(student, teacher.detach(), target.tolist(), strict=True):
        others = [c for c in range(len(z_s)) if c != y]
        s, t = ((z / tau).softmax(0)[y] for z in (z_s, z_t))
        r = min((z_t.softmax(0)[y] / z_s.softmax(0)[y]).item(), most)
        p, q = ((z[others] / tau).softmax(0) for z in (z_t, z_s))
        form = {
            "binary": (r if ratio else 1) * (t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()),
            "ratio": -r * s.log(),
            "log_ratio": (t.log() - s.log()) ** 2 / 2,
        }[explicit]
        rows.append(alpha * form + beta * (p * (p / q).log()).sum())
    return tau**2 * stack(rows).mean()


@pytest.mark.parametrize("explicit", ["binary", "ratio", "log_ratio"])
@pytest.mark.parametrize(("images", "classes", "tau"), [(1, 2, 1.0), (4, 5, 4.0), (3, 7, 0.5)])
def test_equals_its_equation(explicit, images, classes, tau, close):
    student, teacher = (2 * draw(seed, images, classes) for seed in (0, 1))
    target = torch.arange(images) % classes
    student.requires_grad_(), teacher.requires_grad_()
    loss = ExplicitKnowledgeLoss(0.5, 3.0, tau, explicit, most=1.5)(student, teacher, target)
    expected = written_out(student, teacher, target, 0.5, 3.0, tau, explicit, most=1.5)
    close(loss, expected, [student, teacher])


@pytest.mark.parametrize("kind", [kind for kind in HARD if kind != "large"])
def test_hard_inputs_equal_the_equation(kind, hard, close):
    student, teacher, target = hard(kind, 6, 5).requires_grad_(), hard(kind, 6, 5, seed=1), torch.arange(6) % 5
    close(ExplicitKnowledgeLoss()(student, teacher, target), written_out(student, teacher, target, 1, 2, 4), [student])


def test_without_the_ratio_it_is_decoupled_distillation():
    student, teacher, target = draw(0, 4, 5), draw(1, 4, 5), torch.tensor([0, 1, 4, 2])
    loss = ExplicitKnowledgeLoss(1.5, 2.0, 3.0, ratio=False)(student, teacher, target)
    assert torch.equal(loss, DKDLoss(1.5, 2.0, 3.0)(student, teacher, target))


def test_the_ratio_is_bounded_and_finite_where_the_student_is_sure_of_another_class():
    student, teacher = torch.tensor([[0.0, 200.0, 0.0]], requires_grad=True), torch.tensor([[200.0, 0.0, 0.0]])
    ExplicitKnowledgeLoss(most=10)(student, teacher, torch.tensor([0])).backward()
    assert student.grad.isfinite().all()
    assert student.grad[0, 0] < 0


@pytest.mark.parametrize(
    "options", [{"alpha": -1}, {"beta": -1}, {"tau": 0}, {"most": 0.5}, {"most": math.inf}, {"explicit": "x"}]
)
def test_impossible_options_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"{name}.*{value}"):
        ExplicitKnowledgeLoss(**options)
