import pytest
import torch

from trg_pyg.divergences import VectorQueue, queue_cross_entropy
from trg_pyg.errors import InputError


def test_a_new_vector_takes_the_place_of_the_oldest():
    queue = VectorQueue(3, 1)
    for new, expected, filled in (
        ([1.0, 2.0], [1.0, 2.0, 0.0], [True, True, False]),
        ([3.0, 4.0], [4.0, 2.0, 3.0], [True] * 3),
        ([5.0], [4.0, 5.0, 3.0], [True] * 3),
    ):
        vectors, known = queue.push(torch.tensor(new)[:, None])
        assert vectors.flatten().tolist() == queue.vectors.flatten().tolist() == expected
        assert known.tolist() == filled


def test_a_loaded_queue_goes_on_where_it_was():
    queue, other = VectorQueue(3, 2), VectorQueue(3, 2)
    queue.push(torch.ones(2, 2))
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.push(torch.full((2, 2), 2.0))
    assert torch.equal(other.vectors, queue.vectors)


def test_what_was_put_in_before_can_be_passed_backwards_through():
    queue, student = VectorQueue(2, 2), torch.ones(1, 2, requires_grad=True)
    first = queue_cross_entropy(student, torch.eye(2)[:1], *queue.push(torch.eye(2)), 1.0, 1.0)
    queue.push(torch.zeros(2, 2))
    first.backward()
    assert student.grad.any()


def test_one_place_is_certain():
    queue = VectorQueue(4, 2)
    value = queue_cross_entropy(torch.ones(1, 2), torch.ones(1, 2), *queue.push(torch.ones(1, 2)), 0.1, 0.02)
    assert value == 0


def test_it_is_least_where_both_have_the_same_distribution():
    queue = torch.eye(3)
    filled, teacher = torch.tensor([True, True, True]), torch.tensor([[0.3, 0.2, 0.1]])
    entropy = torch.distributions.Categorical(logits=teacher / 0.5).entropy().item()
    same = queue_cross_entropy(2 * teacher, teacher, queue, filled, 1.0, 0.5)
    other = queue_cross_entropy(teacher, teacher, queue, filled, 1.0, 0.5)
    assert same.item() == pytest.approx(entropy, rel=1e-6)
    assert other > same


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"student \(2, 3\), teacher \(2, 3\), queue \(4, 2\) and filled \(4,\)"):
        queue_cross_entropy(torch.ones(2, 3), torch.ones(2, 3), torch.ones(4, 2), torch.ones(4).bool(), 1.0, 1.0)
