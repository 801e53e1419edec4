import bank_equations as equations
import baseline_equations
import pytest
import relational_equations
import torch
from inputs import HARD
from toys import leaves, with_maps

from trg_pyg.distillers import AT
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


@pytest.mark.parametrize("images", [1, 3])
def test_total_is_cross_entropy_and_1000_times_the_sum_over_stages(images, networks, outputs, step, close):
    """Student maps of 16x16 and 8x8, a teacher of 4x4 tokens behind a class token."""
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    stages = [
        baseline_equations.attention(s, equations.token_map(t, 1, 4, 4))
        for s, t in zip(student.features, teacher.features, strict=True)
    ]
    losses = AT(*networks)(student, teacher, step(images))
    assert list(losses.parts) == ["ce", "attention-2", "attention-1"]
    for name, value in zip(("attention-2", "attention-1"), stages, strict=True):
        assert losses.parts[name].item() == pytest.approx(value.item(), rel=1e-6)
    expected = relational_equations.cross_entropy(student.logits, step(images).target) + 1000 * sum(stages)
    close(losses.total, expected, leaves(student, teacher))


@pytest.mark.parametrize("longer", ["student", "teacher"])
def test_stages_are_paired_from_the_last(longer, tokens, step, close):
    shapes = [(2, 7, 7), (3, 6, 4), (4, 3, 3), (5, 2, 2)]
    four = [tokens(3, *shape, seed=i, dtype=torch.float64) for i, shape in enumerate(shapes)]
    three = [tokens(3, *shape, seed=i, dtype=torch.float64) for i, shape in enumerate(shapes[1:], start=4)]
    student, teacher = (four, three) if longer == "student" else (three, four)
    student = [x.requires_grad_() for x in student]
    (info_s, out_s), (info_t, out_t) = with_maps(*student), with_maps(*teacher)
    distiller = AT(info_s, info_t, ce_weight=0, weight=1.0)
    assert list(distiller.terms) == ["attention-3", "attention-2", "attention-1"]
    expected = sum(baseline_equations.attention(s, t) for s, t in zip(student[-3:], teacher[-3:], strict=True))
    close(distiller(out_s, out_t, step()).total, expected, student)


def test_networks_with_one_tap(networks, outputs, step, close):
    ends = [NetworkInfo(info.num_classes, info.features[-1:]) for info in networks]
    student, teacher = (o._replace(features=o.features[-1:]) for o in outputs(dtype=torch.float64))
    distiller = AT(*ends)
    assert list(distiller.terms) == ["attention-1"]
    expected = baseline_equations.attention(student.features[0], equations.token_map(teacher.features[0], 1, 4, 4))
    close(distiller.terms["attention-1"](student, teacher, step()), expected, [*student.features, *teacher.features])
    # Of a network with more taps, the last.
    assert list(AT(ends[0], networks[1]).terms) == ["attention-1"]


def test_networks_without_taps_are_refused(networks):
    for pair, owner in (
        ((NetworkInfo(5, (), 7), networks[1]), "student"),
        ((networks[0], NetworkInfo(5, (), 4)), "teacher"),
    ):
        with pytest.raises(InputError, match=rf"{owner}, which has 0 tapped features \(none\): .* in {owner}\.taps"):
            AT(*pair)


@pytest.mark.parametrize("kind", HARD)
def test_hard_maps(kind, hard, step):
    student, teacher = hard(kind, 4, 3, 4, 4).float().requires_grad_(), hard("random", 4, 2, 2, 2, seed=1).float()
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    losses = AT(info_s, info_t)(out_s, out_t, step(4))
    losses.total.backward()
    assert student.grad.isfinite().all()
    expected = baseline_equations.attention(student.double(), teacher.double())
    assert losses.parts["attention-1"].item() == pytest.approx(expected.item(), rel=1e-5)
