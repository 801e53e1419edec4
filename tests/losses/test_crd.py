import copy

import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD, draw, generator
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.losses import CRDLoss

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, 3])


def make(seed: int = 0, labels: Tensor = LABELS, **options) -> CRDLoss:
    torch.manual_seed(seed)
    loss = CRDLoss(5, 3, **{"dim": 4, **options})
    loss.bind(labels, generator(seed))
    return loss


def embedded(x: Tensor, projection: torch.nn.Linear) -> Tensor:
    return torch.stack([equations.unit(projection.weight @ row + projection.bias) for row in x])


def drawn(loss: CRDLoss, target: Tensor, seed: int) -> list[list[int]]:
    """The negatives of each anchor; that they are right is tested with ClassNegatives."""
    pool, allowed = loss.memory.draw(target, generator(seed))
    return [pool[row].tolist() for row in allowed]


@settings(max_examples=20)
@given(
    negatives=st.sampled_from([1, 3, "auto"]),
    batches=st.lists(st.permutations(range(10)).map(lambda order: order[:4]), min_size=1, max_size=3),
    temperature=st.sampled_from([0.07, 0.5]),
    momentum=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**31),
)
def test_steps_of_a_training_equal_the_equations(close, negatives, batches, temperature, momentum, seed):
    loss = make(seed, negatives=negatives, temperature=temperature, momentum=momentum).double()
    banks = [loss.memory.teacher.vectors.clone(), loss.memory.student.vectors.clone()]
    z: list[float] = []
    for step, batch in enumerate(batches):
        index = torch.tensor(batch)
        student, teacher = draw(seed + step, 4, 5).requires_grad_(), draw(seed + step + 9, 4, 3)
        anchors = [embedded(student, loss.project_student), embedded(teacher, loss.project_teacher)]
        others = drawn(loss, LABELS[index], seed + step)
        if step == 0:
            z = [equations.crd_z(a, bank, batch, others, temperature) for a, bank in zip(anchors, banks, strict=True)]
        expected = sum(
            equations.crd(a, bank, batch, others, temperature, n) for a, bank, n in zip(anchors, banks, z, strict=True)
        )
        actual = loss(student, teacher, LABELS[index], index, generator(seed + step))
        close(actual, expected, [student, *loss.parameters()])
        torch.testing.assert_close(loss.log_z.exp(), torch.tensor(z, dtype=torch.float64))
        for bank, own in zip(banks, reversed(anchors), strict=True):
            for i, vector in zip(batch, own.detach(), strict=True):
                bank[i] = equations.unit(momentum * bank[i] + (1 - momentum) * vector)
        torch.testing.assert_close(loss.memory.teacher.vectors, banks[0])
        torch.testing.assert_close(loss.memory.student.vectors, banks[1])


@pytest.mark.parametrize("kind", HARD)
def test_hard_inputs_equal_the_equation(kind, hard, close):
    loss = make().double().eval()
    student, teacher, index = hard(kind, 6, 5).requires_grad_(), hard(kind, 6, 3, seed=1), torch.arange(6)
    anchors = [embedded(student, loss.project_student), embedded(teacher, loss.project_teacher)]
    others, expected = drawn(loss, LABELS[:6], 0), 0
    for a, bank in zip(anchors, (loss.memory.teacher.vectors, loss.memory.student.vectors), strict=True):
        z = equations.crd_z(a, bank, index.tolist(), others, 0.07)
        expected = expected + equations.crd(a, bank, index.tolist(), others, 0.07, z)
    close(loss(student, teacher, LABELS[:6], index, generator()), expected, [student, *loss.parameters()])


def test_zero_embeddings_have_finite_gradients():
    loss = make()
    for parameter in loss.parameters():
        torch.nn.init.zeros_(parameter)
    student = torch.randn(4, 5, requires_grad=True)
    value = loss(student, torch.randn(4, 3), LABELS[:4], torch.arange(4), generator())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert loss.memory.student.vectors.isfinite().all()


def test_a_low_temperature_does_not_overflow():
    """e^(1/0.005) is beyond float32."""
    loss = make(temperature=0.005)
    exact = copy.deepcopy(loss).double()
    student, teacher = draw(0, 4, 5).float().requires_grad_(), draw(1, 4, 3).float()
    for _ in range(3):
        value = loss(student, teacher, LABELS[:4], torch.arange(4), generator())
        wanted = exact(student.double(), teacher.double(), LABELS[:4], torch.arange(4), generator())
        assert value.item() == pytest.approx(wanted.item(), rel=1e-3)
    (gradient,) = torch.autograd.grad(value, student)
    assert gradient.isfinite().all()


def test_eval_mode_stores_nothing_and_uses_its_own_z_until_there_is_one():
    loss = make().eval()
    before = copy.deepcopy(loss.state_dict())
    inputs = [(draw(seed, 4, 5).float(), draw(seed + 9, 4, 3).float()) for seed in (0, 1)]
    arguments = (LABELS[:4], torch.arange(4))
    alone = loss(*inputs[1], *arguments, generator())
    torch.testing.assert_close(loss.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert loss.log_z.isnan().all()
    loss.train()(*inputs[0], *arguments, generator())
    fixed = loss.log_z.clone()
    assert fixed.isfinite().all()
    assert not torch.equal(loss.eval()(*inputs[1], *arguments, generator()), alone)
    loss.train()(*inputs[1], *arguments, generator())
    assert torch.equal(loss.log_z, fixed)


def test_images_of_the_anchors_class_add_nothing():
    loss = make().double().eval()
    index = torch.tensor([0, 3])  # both of class 0, as are 6 and 7
    student, teacher = draw(0, 2, 5).requires_grad_(), draw(1, 2, 3)
    results = []
    for _ in range(2):
        value = loss(student, teacher, LABELS[index], index, generator())
        results.append((value, *torch.autograd.grad(value, [student, *loss.parameters()])))
        loss.memory.student.vectors[6:8] *= 1e6
        loss.memory.teacher.vectors[6:8] *= 1e6
    torch.testing.assert_close(results[1], results[0])


def test_a_loaded_state_replaces_a_fixed_z():
    loss, before = make(), copy.deepcopy(make().state_dict())
    arguments = (draw(0, 4, 5).float(), draw(1, 4, 3).float(), LABELS[:4], torch.arange(4))
    first = loss(*arguments, generator())
    assert not torch.equal(loss(*arguments, generator()), first)
    loss.load_state_dict(before)
    assert torch.equal(loss(*arguments, generator()), first)


def test_binding_again_starts_anew():
    loss = make()
    before = copy.deepcopy(loss.state_dict())
    loss(torch.randn(4, 5), torch.randn(4, 3), LABELS[:4], torch.arange(4), generator())
    loss.bind(LABELS, generator(0))
    torch.testing.assert_close(loss.state_dict(), before, rtol=0, atol=0, equal_nan=True)


def test_negatives_are_not_gathered_for_each_anchor(largest_tensor):
    items, batch, k, dim = 2000, 32, 500, 64
    labels = torch.arange(items) % 20
    loss = make(labels=labels, negatives=k, dim=dim)
    student = torch.randn(batch, 5, requires_grad=True)
    with largest_tensor() as largest:
        loss(student, torch.randn(batch, 3), labels[:batch], torch.arange(batch), generator()).backward()
    assert largest.numel <= items * dim  # a bank; gathered negatives would be 8 times as much
    assert batch * k * dim == 8 * items * dim


def test_messages():
    x, y, target, index = torch.zeros(4, 5), torch.zeros(4, 3), LABELS[:4], torch.arange(4)
    loss = make()
    with pytest.raises(InputError, match=r"student rows \(4, 5\) and teacher rows \(3, 3\)"):
        loss(x, y[:3], target, index, generator())
    with pytest.raises(InputError, match=r"target \(3,\) and index \(4,\)"):
        loss(x, y, target[:3], index, generator())
    with pytest.raises(InputError, match="momentum=1"):
        CRDLoss(5, 3, momentum=1)
    with pytest.raises(InputError, match="temperature=0"):
        CRDLoss(5, 3, temperature=0)
