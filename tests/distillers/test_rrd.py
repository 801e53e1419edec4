import copy
from dataclasses import replace

import modern_equations as equations
import pytest
import torch
from inputs import HARD
from toys import with_embedding

from trg_pyg.distillers import RRD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs
from trg_pyg.step import Share


def make(networks, **options) -> RRD:
    torch.manual_seed(0)
    return RRD(*networks, **options).double()


def embeddings(distiller: RRD, student: Outputs, teacher: Outputs):
    layers = distiller.terms["queue"].images.nodes
    found = equations.embedded(student.embedding, layers.embed_student)
    return found, equations.embedded(teacher.embedding.detach(), layers.embed_teacher)


def test_three_steps_equal_the_equation_with_the_batch_in_the_place_of_the_oldest(networks, outputs, step, close):
    """Of 5 places: images 1, 2, 3; then 4, 5, 6, which leaves 2 and 3; then 7, 8, 9 and the last two of before."""
    distiller, queue = make(networks, queue=5, dim=6, student_temperature=0.2, teacher_temperature=0.05), []
    for seed in range(3):
        student, teacher = outputs(3, seed=seed, dtype=torch.float64)
        s, t = embeddings(distiller, student, teacher)
        queue = [*queue, *t][-5:]
        expected = equations.rrd(s, t, torch.stack(queue), 0.2, 0.05)
        close(distiller.terms["queue"](student, teacher, step(3)), expected, [student.embedding])
    assert distiller.terms["queue"].queue.added == 9


def test_the_published_objective(networks, outputs, step, close):
    """128-d, 16384 places, student 0.1 and teacher 0.02: CE + the term."""
    distiller = make(networks)
    student, teacher = outputs(4, dtype=torch.float64)
    s, t = embeddings(distiller, student, teacher)
    expected = equations.rrd(s, t, t, 0.1, 0.02)
    total, parts = distiller(student, teacher, step(4))
    assert distiller.terms["queue"].queue.vectors.shape == (16384, 128)
    close(total, parts["ce"] + expected, [student.embedding])


def test_the_teachers_embedding_does_not_learn(networks, outputs, step):
    distiller = make(networks)
    distiller(*outputs(dtype=torch.float64), step()).total.backward()
    layers = distiller.terms["queue"].images.nodes
    assert layers.embed_teacher.weight.grad is None
    assert layers.embed_student.weight.grad.any()


def test_in_evaluation_the_batch_counts_and_is_not_kept(networks, outputs, step):
    distiller = make(networks, queue=8)
    distiller(*outputs(3, seed=1, dtype=torch.float64), step(3))
    given, state = outputs(3, dtype=torch.float64), copy.deepcopy(distiller.state_dict())
    evaluated = distiller.eval()(*given, step(3)).total
    assert all(torch.equal(value, state[name]) for name, value in distiller.state_dict().items())
    assert torch.equal(distiller.train()(*given, step(3)).total, evaluated)


def test_a_batch_of_as_many_images_as_places_is_compared_with_itself_alone(networks, outputs, step):
    distiller, given = make(networks, queue=3), outputs(3, dtype=torch.float64)
    fresh = copy.deepcopy(distiller)(*given, step(3)).total
    distiller(*outputs(2, seed=1, dtype=torch.float64), step(2))
    assert distiller(*given, step(3)).total.item() == pytest.approx(fresh.item(), rel=1e-12)


@pytest.mark.parametrize("kind", HARD)
def test_hard_embeddings(kind, hard, step):
    student = hard(kind, 4, 3, dtype=torch.float32).requires_grad_()
    (info_s, out_s), (info_t, out_t) = with_embedding(student), with_embedding(hard(kind, 4, 5).float())
    torch.manual_seed(0)
    losses = RRD(info_s, info_t, queue=6)(out_s, out_t, step(4))
    losses.total.backward()
    assert losses.parts["queue"].isfinite()
    assert student.grad.isfinite().all()


def test_a_share_is_compared_with_the_images_of_all(networks, outputs, step):
    """The mean of two shares, weighted by their images, is the loss of the batch, and so are both queues."""
    whole, (student, teacher) = make(networks, queue=8), outputs(3, dtype=torch.float64)
    shares = [copy.deepcopy(whole) for _ in range(2)]
    gathered = embeddings(whole, student, teacher)[1]
    expected, found = whole.terms["queue"](student, teacher, step(3)), 0.0
    for each, first, last in zip(shares, (0, 2), (2, 3), strict=True):
        part = [
            Outputs(side.logits[first:last], tuple(f[first:last] for f in side.features), side.embedding[first:last])
            for side in (student, teacher)
        ]
        here = replace(step(last - first), share=Share(first, last, 3, lambda rows: gathered))
        found += (last - first) / 3 * each.terms["queue"](*part, here).item()
        torch.testing.assert_close(each.terms["queue"].queue.vectors, whole.terms["queue"].queue.vectors)
    assert found == pytest.approx(expected.item(), rel=1e-9)


def test_a_queue_shorter_than_a_batch_is_refused(networks, outputs, step):
    with pytest.raises(InputError, match=r"vectors \(3, 128\) for a queue of 2 of width 128: give at most as many"):
        RRD(*networks, queue=2)(*outputs(3), step(3))


@pytest.mark.parametrize("option", ["student_temperature", "teacher_temperature"])
def test_temperatures_are_positive(option, networks):
    with pytest.raises(InputError, match=f"{option}=0: it must be positive"):
        RRD(*networks, **{option: 0})


def test_a_queue_without_places_is_refused(networks):
    with pytest.raises(InputError, match="queue of 0 vectors of width 128"):
        RRD(*networks, queue=0)
