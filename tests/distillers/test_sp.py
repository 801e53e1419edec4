import pytest
import relational_equations as equations
import torch
from inputs import HARD
from toys import with_maps

from trg_pyg.distillers import SP
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


@pytest.mark.parametrize("images", [1, 2, 3, 6])
def test_term_equals_the_papers_equation(images, networks, outputs, step, close):
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    # The teacher's class token is no part of its map.
    expected = equations.sp(student.features[-1], teacher.features[-1][:, 1:].detach())
    term = SP(*networks).terms["similarity"]
    close(term(student, teacher, step(images)), expected, [student.logits, *student.features, student.embedding])


def test_total_is_cross_entropy_and_3000_times_the_term(networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    losses = SP(*networks)(student, teacher, step(4))
    similarity = equations.sp(student.features[-1], teacher.features[-1][:, 1:].detach())
    expected = equations.cross_entropy(student.logits, step(4).target) + 3000 * similarity
    assert list(losses.parts) == ["ce", "similarity"]
    close(losses.total, expected, [student.logits, student.features[-1]])


def test_two_images_written_out(step):
    # Student: orthogonal images of one length, so G is the identity. Teacher: equal images, rows (1, 1) / sqrt(2).
    student = torch.tensor([[2.0, 0.0], [0.0, 3.0]]).view(2, 2, 1, 1)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(torch.ones(2, 1, 3, 3))
    similarity = SP(info_s, info_t)(out_s, out_t, step(2)).parts["similarity"].item()
    assert similarity == pytest.approx(2 * ((1 - 0.5**0.5) ** 2 + 0.5) / 4, rel=1e-6)


def test_only_the_last_of_several_maps_counts(networks, outputs, step):
    student, teacher = outputs()
    SP(*networks)(student, teacher, step()).total.backward()
    assert student.features[0].grad is None
    assert student.features[1].grad.abs().sum() > 0


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hard_maps(kind, dtype, hard, step):
    student = hard(kind, 4, 3, 2, 2, dtype=dtype).requires_grad_()
    teacher = hard("random", 4, 2, 3, 3, seed=1, dtype=dtype)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    losses = SP(info_s, info_t)(out_s, out_t, step(4))
    losses.total.backward()
    assert student.grad.isfinite().all()
    if kind != "tiny":  # whose squared products are 0 in float32
        expected = equations.sp(student.double(), teacher.double()).item()
        assert losses.parts["similarity"].item() == pytest.approx(expected, rel=1e-5)


def test_maps_of_nothing_but_zeros(step):
    student = torch.zeros(3, 2, 2, 2, requires_grad=True)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(torch.zeros(3, 1, 2, 2))
    losses = SP(info_s, info_t)(out_s, out_t, step())
    losses.total.backward()
    assert losses.parts["similarity"] == 0
    assert torch.equal(student.grad, torch.zeros(3, 2, 2, 2))


def test_a_network_without_a_tap_is_refused(networks):
    with pytest.raises(InputError, match="stage -1 of the student, which has 0 tapped features"):
        SP(NetworkInfo(5, (), 7), networks[1])
