"""The mutex watershed and the scores of instances, by hand and against slow transcriptions."""

from math import log2

import numpy as np
import pytest

from trg_pyg.tasks._segments import LEAST_PIXELS, agreement, mutex_watershed, numbered, without_fragments

DISTANCES = (1, 3, 5, 9, 27)


def slow_watershed(affinity, distances, foreground):
    """Sets of pixels and pairs of sets that are kept apart, edge by edge."""
    height, width = foreground.shape
    edges = []
    for k in range(2 * len(distances)):
        s = distances[k % len(distances)]
        down, right = (s, 0) if k < len(distances) else (0, s)
        step = 1 if s == 1 else 5
        for y in range(down, height, step):
            for x in range(right, width, step):
                one, other = (y, x), (y - down, x - right)
                if foreground[one] and foreground[other]:
                    a = min(max(affinity[(k, *one)], 0), 1)
                    edges.append((a if s == 1 else 1 - a, s == 1, one, other))
    group = {(y, x): {(y, x)} for y in range(height) for x in range(width) if foreground[y, x]}
    apart = set()
    for strength, joins, one, other in sorted(edges, key=lambda edge: -edge[0]):
        a, b = group[one], group[other]
        if strength == 0 or a is b:
            continue
        if not joins:
            apart.add((one, other))
        elif not any((p in a and q in b) or (p in b and q in a) for p, q in apart):
            a |= b
            for pixel in b:
                group[pixel] = a
    labels = np.zeros((height, width), int)
    for number, pixels in enumerate({id(each): each for each in group.values()}.values(), 1):
        for pixel in pixels:
            labels[pixel] = number
    return labels


def same(one, other):
    """Whether two label maps differ in the numbers alone."""
    pairs = {*zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_watershed_of_edges_one_after_another(seed):
    draws = np.random.default_rng(seed)
    affinity, foreground = draws.uniform(-0.2, 1.2, (10, 12, 14)), draws.random((12, 14)) < 0.9
    affinity[[0, 5]] += 0.3  # so that instances grow
    found = mutex_watershed(affinity, DISTANCES, foreground)
    assert same(found, slow_watershed(affinity, DISTANCES, foreground))
    assert np.array_equal(found > 0, foreground)
    assert found.max() > 3


def two_squares(repelling: float):
    """Squares of 6 pixels that one pixel joins; what crosses the gap is unlike, as much as is said."""
    foreground = np.zeros((6, 13), bool)
    foreground[:, :6] = foreground[:, 7:] = True
    foreground[3, 6] = True
    affinity = np.ones((10, 6, 13))
    for channel, s in enumerate(DISTANCES, 5):
        if s > 1:
            affinity[channel, :, 7 : 6 + s] = 1 - repelling
    affinity[5, 3, 7] = 0.5
    return mutex_watershed(affinity, DISTANCES, foreground)


def test_squares_joined_by_a_pixel_are_two_where_long_edges_repel():
    apart, together = two_squares(0.9), two_squares(0.1)
    assert len({apart[0, 0], apart[0, 12]}) == 2
    assert together.max() == 1


def test_neighbours_without_any_affinity_are_not_joined():
    assert mutex_watershed(np.zeros((2, 2, 3)), (1,), np.ones((2, 3), bool)).max() == 6


def test_small_pieces_join_the_neighbour_with_the_longest_border_or_go():
    labels = np.zeros((9, 12), int)
    labels[:4, :4], labels[:4, 4:8] = 1, 2
    labels[1:3, 3:5] = 3  # two rows: beside each of 1 and 2, then
    labels[0, 3] = 3
    labels[8, 11] = 7
    found = without_fragments(labels)
    assert found.max() == 2
    assert found[8, 11] == 0
    assert (found[:4, :8] > 0).all()
    assert labels[labels > 0].size == (found > 0).sum() + 1


def slow_without_fragments(labels):
    """Piece by piece, each with a look at all pixels beside it."""
    labels = labels.copy()
    sizes = {each: (labels == each).sum() for each in sorted({*labels.ravel().tolist()} - {0})}
    for small in sorted(sizes, key=sizes.get):
        if (labels == small).sum() >= LEAST_PIXELS or sizes[small] >= LEAST_PIXELS:
            continue
        beside = dict.fromkeys(sizes, 0)
        for y, x in np.argwhere(labels == small):
            for at in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= at[0] < labels.shape[0] and 0 <= at[1] < labels.shape[1] and labels[at] not in (0, small):
                    beside[labels[at]] += 1
        longest = max(beside, key=beside.get)
        labels[labels == small] = longest if beside[longest] else 0
    return numbered(labels)


@pytest.mark.parametrize("pieces", [3, 12, 40])
def test_pieces_join_as_one_after_another_would(pieces):
    draws = np.random.default_rng(pieces)
    labels = draws.integers(0, pieces, (6, 9)).repeat(2, 0)[:, :17]
    assert np.array_equal(without_fragments(labels), slow_without_fragments(labels))
    fine = draws.integers(0, pieces, (11, 13))
    assert np.array_equal(without_fragments(fine), slow_without_fragments(fine))


def test_pieces_that_grow_enough_stay():
    labels = np.zeros((2, LEAST_PIXELS), int)
    labels[0, :4], labels[0, 4:] = 1, 2
    assert without_fragments(labels)[0].tolist() == [1] * LEAST_PIXELS


TRUTH = np.array([[1, 1, 1, 0, 2, 2], [1, 1, 1, 0, 2, 2]])


def test_true_instances_of_other_numbers_agree_wholly():
    found = np.where(TRUTH == 1, 8, np.where(TRUTH == 2, 3, 0))
    assert agreement(found, TRUTH) == (1, 0, 0, 0, 0, 2, 2, 2)


def test_two_instances_as_one_by_hand():
    got = agreement((TRUTH > 0).astype(int), TRUTH)
    dice = [2 * 6 / 16, 2 * 4 / 14]
    assert got.sbd == pytest.approx(min(dice[0], sum(dice) / 2))
    assert (got.difference, got.matches, got.found, got.true) == (-1, 1, 1, 2)  # 6 of 10 is more than half
    assert got.split == pytest.approx(0)
    assert got.merged == pytest.approx(-0.6 * log2(0.6) - 0.4 * log2(0.4))
    together, true = 10 * 9, 6 * 5 + 4 * 3
    assert got.arand == pytest.approx(1 - 2 * true / (together + true))


def test_one_instance_as_two_by_hand():
    truth, found = np.ones((2, 4), int), np.array([[1, 1, 1, 2]] * 2)
    got = agreement(found, truth)
    dice = [2 * 6 / 14, 2 * 2 / 10]
    assert got.sbd == pytest.approx(min(sum(dice) / 2, dice[0]))
    assert got.merged == pytest.approx(0)
    assert got.split == pytest.approx(-0.75 * log2(0.75) - 0.25 * log2(0.25))
    assert (got.matches, got.found, got.true) == (1, 2, 1)
    assert agreement(truth, found).split == pytest.approx(got.merged)


def test_half_of_the_union_is_no_match():
    assert agreement(np.array([[1, 1, 0, 0]]), np.array([[1, 1, 1, 1]])).matches == 0


def test_what_is_found_in_the_background_counts_as_an_instance_alone():
    found = TRUTH.copy()
    found[:, 3] = 5
    got, true = agreement(found, TRUTH), agreement(TRUTH, TRUTH)
    assert (got.split, got.merged, got.arand) == (true.split, true.merged, true.arand)
    assert (got.difference, got.found) == (1, 3)


@pytest.mark.parametrize(("found", "truth", "sbd"), [(0, 0, 1.0), (1, 0, 0.0), (0, 1, 0.0)])
def test_no_instance_on_a_side(found, truth, sbd):
    got = agreement(np.full((2, 2), found), np.full((2, 2), truth))
    assert got.sbd == sbd
    assert np.isfinite(got).all()


def test_numbers_begin_at_1():
    assert numbered(np.array([[5, 0], [9, 5]])).tolist() == [[1, 0], [2, 1]]
    assert numbered(np.array([[5, 3]])).tolist() == [[2, 1]]
