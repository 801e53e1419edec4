import copy

import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw, generator

from trg_pyg.divergences import PairMemory
from trg_pyg.errors import InputError

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, 3])


def make(seed: int = 0, dim: int = 3, **options) -> PairMemory:
    memory = PairMemory(dim, **options)
    memory.bind(LABELS, generator(seed))
    return memory


@settings(max_examples=40)
@given(
    negatives=st.sampled_from([1, 4, "auto"]),
    index=st.lists(st.integers(0, 9), min_size=1, max_size=7),
    seed=st.integers(0, 2**31),
)
def test_recall_is_of_the_batch_and_of_k_images_of_other_classes(negatives, index, seed):
    memory = make(seed, negatives=negatives)
    s, t = memory.student.vectors, memory.teacher.vectors
    seen = memory.recall(LABELS[index], torch.tensor(index), generator(seed))
    assert torch.equal(seen.student, s[index])
    assert torch.equal(seen.teacher, t[index])
    k = 6 if negatives == "auto" else negatives
    assert (seen.negatives, seen.items) == (k, 10)
    assert seen.allowed.sum(1).tolist() == [k] * len(index)
    # Which images the rows of the pools are, found by their vectors.
    pool = [int((s == row).all(1).nonzero()) for row in seen.student_pool]
    assert pool == [int((t == row).all(1).nonzero()) for row in seen.teacher_pool]
    assert len(set(pool)) == len(pool)
    for row, label in zip(seen.allowed, LABELS[index].tolist(), strict=True):
        assert all(LABELS[pool[j]] != label for j in row.nonzero().flatten().tolist())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_update_moves_each_network_towards_its_own(momentum):
    memory = make(momentum=momentum).double()
    before = memory.student.vectors.clone(), memory.teacher.vectors.clone()
    index, new = [7, 0, 4], (draw(0, 3, 3).requires_grad_(), draw(1, 3, 3).requires_grad_())
    memory.update(torch.tensor(index), *new)
    for bank, old, x in zip((memory.student.vectors, memory.teacher.vectors), before, new, strict=True):
        for i in range(10):
            wanted = old[i]
            if i in index:
                wanted = equations.unit(momentum * old[i] + (1 - momentum) * x[index.index(i)].detach())
            torch.testing.assert_close(bank[i], wanted)
        assert not bank.requires_grad


def test_what_was_recalled_stays_when_the_banks_move():
    memory = make(momentum=0.0)
    index = torch.tensor([0, 1])
    seen = memory.recall(LABELS[:2], index, generator())
    kept = copy.deepcopy(seen)
    memory.update(index, torch.ones(2, 3), torch.ones(2, 3))
    for now, then in zip(seen[:5], kept[:5], strict=True):
        assert torch.equal(now, then)
    assert not seen.student.requires_grad


def test_the_generator_decides_and_the_global_one_is_left_alone():
    state = torch.get_rng_state()
    one, same, other = make(0), make(0), make(1)
    assert torch.equal(one.student.vectors, same.student.vectors)
    assert torch.equal(one.teacher.vectors, same.teacher.vectors)
    assert not torch.equal(one.student.vectors, other.student.vectors)
    assert not torch.equal(one.student.vectors, one.teacher.vectors)
    stream, again = generator(5), generator(5)
    arguments = LABELS[:4], torch.arange(4)
    first, second = (one.recall(*arguments, stream).student_pool for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(same.recall(*arguments, again).student_pool, first)
    assert torch.equal(same.recall(*arguments, again).student_pool, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_the_vectors_are_in_the_state_dict():
    memory, fresh = make(0), make(1)
    assert list(memory.state_dict()) == ["student.vectors", "teacher.vectors"]
    fresh.load_state_dict(memory.state_dict())
    assert torch.equal(fresh.teacher.vectors, memory.teacher.vectors)
    assert not list(memory.parameters())
    assert not PairMemory(3).state_dict()


def test_binding_again_starts_anew():
    memory = make()
    before = copy.deepcopy(memory.state_dict())
    memory.update(torch.tensor([0]), torch.ones(1, 3), torch.ones(1, 3))
    memory.bind(LABELS, generator())
    torch.testing.assert_close(memory.state_dict(), before, rtol=0, atol=0)
    memory.bind(LABELS[:5], generator())
    assert len(memory.student.vectors) == 5


def test_banks_are_made_where_the_memory_is():
    memory = PairMemory(3).double()
    memory.bind(LABELS, generator())
    assert memory.student.vectors.dtype == memory.teacher.vectors.dtype == torch.float64
    assert memory.draw.targets.dtype == torch.int64
    assert copy.deepcopy(memory).float().student.vectors.dtype == torch.float32
    nowhere = PairMemory(3).to("meta")
    nowhere.bind(LABELS, generator())
    assert {x.device.type for x in (nowhere.student.vectors, nowhere.draw.targets)} == {"meta"}


def test_messages():
    memory, arguments = PairMemory(3), (LABELS[:2], torch.arange(2))
    with pytest.raises(InputError) as unbound:
        memory.recall(*arguments, generator())
    assert str(unbound.value) == "bind(targets, generator) first: a memory bank needs the training set's labels"
    with pytest.raises(InputError) as no_index:
        make().recall(LABELS[:2], None, generator())
    assert str(no_index.value) == "a memory bank needs each image's position in the training set (Step.index)"
    with pytest.raises(InputError, match=r"target \(2,\) and index \(3,\): give one of each an image"):
        make().recall(LABELS[:2], torch.arange(3), generator())
    with pytest.raises(InputError, match="position 10 in a memory bank of 10 images"):
        make().recall(LABELS[:2], torch.tensor([3, 10]), generator())
    with pytest.raises(InputError) as few:
        make(negatives=7)
    assert str(few.value) == (
        "negatives=7: the training set has only 6 images of other classes than class 0; choose at most 6, or auto"
    )
    for momentum in (1, -0.5):
        with pytest.raises(InputError, match=f"^momentum={momentum}: choose at least 0 and less than 1"):
            PairMemory(3, momentum=momentum)
    with pytest.raises(InputError, match=r"^negatives=0: choose at least 1, or auto"):
        PairMemory(3, 0)
    with pytest.raises(InputError, match=r"^negatives=all: choose a number or auto"):
        PairMemory(3, "all")
