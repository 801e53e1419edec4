import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import generator

from trg_pyg.divergences import ClassNegatives
from trg_pyg.errors import InputError


@settings(max_examples=100)
@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(lambda labels: len(set(labels)) > 1),
    batch=st.lists(st.integers(0, 5), min_size=1, max_size=6),  # class 5 is not in the training set
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_each_anchor_has_k_different_images_of_other_classes(labels, batch, seed, data):
    largest = max(Counter(labels).values())
    k = data.draw(st.integers(1, len(labels) - largest) | st.just("auto"))
    negatives = ClassNegatives(torch.tensor(labels), k)
    wanted = len(labels) - largest if k == "auto" else k
    assert negatives.negatives == wanted
    pool, allowed = negatives(torch.tensor(batch), generator(seed))
    assert len(pool) == negatives.pool <= min(len(labels), wanted + largest)
    assert len(set(pool.tolist())) == len(pool)
    assert allowed.shape == (len(batch), len(pool))
    assert allowed.dtype == torch.bool
    for row, label in zip(allowed, batch, strict=True):
        chosen = pool[row].tolist()
        assert len(chosen) == wanted
        assert all(labels[i] != label for i in chosen)


def test_every_subset_of_the_others_is_as_likely():
    labels = torch.tensor([0, 1, 1, 2, 0, 2, 1])
    negatives, draws, source = ClassNegatives(labels, 2), 6000, generator()
    subsets: dict[int, Counter] = {0: Counter(), 1: Counter()}
    for _ in range(draws):
        pool, allowed = negatives(torch.tensor([0, 1]), source)
        for label, row in enumerate(allowed):
            subsets[label][tuple(sorted(pool[row].tolist()))] += 1
    for label, counts in subsets.items():
        others = [i for i, other in enumerate(labels.tolist()) if other != label]
        expected = set(itertools.combinations(others, 2))
        assert counts.keys() == expected
        p = 1 / len(expected)
        deviation = (draws * p * (1 - p)) ** 0.5
        assert all(abs(n - draws * p) < 5 * deviation for n in counts.values())


def test_the_generator_decides_and_the_global_one_is_left_alone():
    state = torch.get_rng_state()
    negatives = ClassNegatives(torch.arange(50) % 5, 20)
    target, source = torch.tensor([0, 1]), generator(0)
    first, second, again = (negatives(target, g)[0] for g in (source, source, generator(0)))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_auto_is_16384_where_there_are_as_many():
    labels = torch.arange(40_000) % 2
    assert ClassNegatives(labels).negatives == 16384
    assert ClassNegatives(labels).pool == 16384 + 20_000
    assert ClassNegatives(labels[:32_000]).negatives == 16_000
    assert ClassNegatives(labels[:32_000]).pool == 32_000


def test_nothing_is_in_the_state_dict():
    assert ClassNegatives(torch.tensor([0, 1])).state_dict() == {}


def test_messages():
    labels = torch.cat([torch.full((5000,), 3), torch.arange(1300) % 3])
    with pytest.raises(InputError) as error:
        ClassNegatives(labels, 16384)
    assert str(error.value) == (
        "negatives=16384: the training set has only 1,300 images of other classes than class 3; "
        "choose at most 1300, or auto"
    )
    with pytest.raises(InputError, match="negatives=0"):
        ClassNegatives(labels, 0)
    with pytest.raises(InputError, match="negatives=all: choose a number or auto"):
        ClassNegatives(labels, "all")
    with pytest.raises(InputError, match="of class 2 only"):
        ClassNegatives(torch.tensor([2, 2]))
    with pytest.raises(InputError, match=r"targets \(0,\)"):
        ClassNegatives(torch.tensor([], dtype=torch.int64))
