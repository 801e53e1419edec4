import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trg_pyg.data import long_tail_counts, long_tail_indices, shots
from trg_pyg.errors import InputError


def test_counts_of_a_small_set_written_out():
    assert long_tail_counts(100, 3, 100) == [100, 10, 1]
    assert long_tail_counts(8, 4, 1) == [8, 8, 8, 8]
    assert long_tail_counts(7, 1, 50) == [7]


@pytest.mark.parametrize(("n_max", "imbalance", "smallest"), [(98, 49, 2), (49, 49, 1), (103, 103, 1), (100, 51, 1)])
def test_rounding_takes_no_image(n_max, imbalance, smallest):
    assert long_tail_counts(n_max, 10, imbalance)[-1] == smallest


@pytest.mark.parametrize(("imbalance", "total"), [(10, 19_573), (50, 12_608), (100, 10_847), (200, 9_502)])
def test_totals_of_cifar100_lt(imbalance, total):
    assert sum(long_tail_counts(500, 100, imbalance)) == total
    targets = torch.arange(50_000) % 100
    index = long_tail_indices(targets, 100, imbalance, seed=0)
    assert len(index) == total
    assert torch.bincount(targets[index]).tolist() == long_tail_counts(500, 100, imbalance)


@pytest.mark.parametrize(("imbalance", "sizes"), [(10, (69, 31, 0)), (50, (41, 41, 18)), (100, (35, 35, 30))])
def test_shots_of_cifar100_lt(imbalance, sizes):
    groups = shots(long_tail_counts(500, 100, imbalance))
    assert tuple(len(groups[name]) for name in ("many", "medium", "few")) == sizes
    assert groups["many"] + groups["medium"] + groups["few"] == list(range(100))


def test_shots_at_the_borders():
    assert shots([101, 100, 20, 19, 0]) == {"many": [0], "medium": [1, 2], "few": [3, 4]}


@given(n_max=st.integers(1, 600), num_classes=st.integers(1, 120), share=st.floats(0, 1))
def test_counts_fall_from_n_max_to_n_max_over_imbalance(n_max, num_classes, share):
    imbalance = 1 + share * 0.99 * (n_max - 1)
    counts = long_tail_counts(n_max, num_classes, imbalance)
    assert len(counts) == num_classes
    assert counts[0] == n_max
    assert counts == sorted(counts, reverse=True)
    if num_classes > 1:
        assert abs(counts[-1] - n_max / imbalance) <= 1


@given(
    sizes=st.lists(st.integers(5, 30), min_size=1, max_size=8),
    imbalance=st.floats(1, 4.9),
    seed=st.integers(0, 2**31),
    order=st.randoms(use_true_random=False),
)
def test_indices_are_the_images_asked_for(sizes, imbalance, seed, order):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    order.shuffle(labels)
    targets = torch.tensor(labels)
    index = long_tail_indices(targets, len(sizes), imbalance, seed)
    assert index.tolist() == sorted(set(index.tolist()))
    counts = torch.bincount(targets[index], minlength=len(sizes)).tolist()
    assert counts == long_tail_counts(min(sizes), len(sizes), imbalance)
    assert torch.equal(index, long_tail_indices(targets, len(sizes), imbalance, seed))
    milder = long_tail_indices(targets, len(sizes), 1 + (imbalance - 1) / 2, seed)
    assert set(index.tolist()) <= set(milder.tolist())


def test_seed_chooses_the_images():
    targets = torch.arange(200) % 2
    first, other = (long_tail_indices(targets, 2, 10, seed) for seed in (0, 1))
    assert len(first) == len(other) == 110
    assert not torch.equal(first, other)


@pytest.mark.parametrize("imbalance", [0.99, 0, float("nan"), float("inf")])
def test_an_impossible_imbalance_is_refused(imbalance):
    with pytest.raises(InputError, match="not a finite number >= 1"):
        long_tail_counts(500, 100, imbalance)


def test_a_class_left_empty_is_refused_with_the_bound():
    with pytest.raises(InputError, match=r"imbalance 100 leaves 4 of 10 classes .* choose an imbalance of at most 20"):
        long_tail_counts(20, 10, 100)
    with pytest.raises(InputError, match="at most 1"):
        long_tail_indices(torch.tensor([0, 0, 1]), 2, 2, seed=0)
