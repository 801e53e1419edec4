"""Instances out of affinities, and how well instances agree with others; NumPy, on the CPU."""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

# Of repelling edges every so many rows and columns are looked at.
_STRIDE = 5
# Pixels of the least instance; a smaller piece goes to the neighbour with the longest common border, or away.
LEAST_PIXELS = 10


def mutex_watershed(affinity: Array, distances: tuple[int, ...], foreground: Array) -> Array:
    """Return instances by the mutex watershed (Wolf et al., arXiv 1904.12654).

    Edges from the strongest to the weakest: one of two neighbours joins their instances with the strength a, unless
    something keeps these apart; one to a pixel further off keeps them apart with the strength 1 - a.

    Args:
        affinity: of each pixel and those above it and to its left, ``[2 * len(distances), H, W]``; clipped to [0, 1].
        distances: how far off those are; 1 joins, others keep apart.
        foreground: bool ``[H, W]``; other pixels belong to no instance.

    Returns:
        int64 ``[H, W]``, 0 of background, instances numbered from 1.
    """
    edges = _edges(affinity, distances, foreground)
    parent = list(range(foreground.size))
    apart: dict[int, set[int]] = defaultdict(set)

    def root(pixel: int) -> int:
        while parent[pixel] != pixel:
            parent[pixel] = parent[parent[pixel]]
            pixel = parent[pixel]
        return pixel

    for one, other, joins in zip(*edges, strict=True):
        a, b = root(one), root(other)
        if a == b:
            continue
        if not joins:
            apart[a].add(b)
            apart[b].add(a)
        elif b not in apart[a]:
            if len(apart[a]) > len(apart[b]):
                a, b = b, a
            parent[a] = b
            for each in apart.pop(a):
                apart[each].remove(a)
                apart[each].add(b)
                apart[b].add(each)
    roots = np.array([root(pixel) for pixel in range(foreground.size)]).reshape(foreground.shape)
    return numbered(np.where(foreground, roots + 1, 0))


def _edges(affinity: Array, distances: tuple[int, ...], foreground: Array) -> tuple[list[int], list[int], list[bool]]:
    """Return both ends of each edge and whether it joins, the strongest first, equals as they come."""
    height, width = foreground.shape
    place = np.arange(height * width).reshape(height, width)
    ends, partners, strengths, joining = [], [], [], []
    channels = iter(np.clip(np.nan_to_num(affinity), 0, 1))
    for axis in (0, 1):
        for distance in distances:
            values = next(channels)
            step = 1 if distance == 1 else _STRIDE
            inside = (slice(distance, None), slice(None)) if axis == 0 else (slice(None), slice(distance, None))
            back = (slice(None, -distance), slice(None)) if axis == 0 else (slice(None), slice(None, -distance))
            thinned = (slice(None, None, step),) * 2
            one, other = place[inside][thinned].ravel(), place[back][thinned].ravel()
            strength = values[inside][thinned].ravel()
            strength = strength if distance == 1 else 1 - strength
            kept = foreground.ravel()[one] & foreground.ravel()[other] & (strength > 0)
            ends.append(one[kept])
            partners.append(other[kept])
            strengths.append(strength[kept])
            joining.append(np.full(int(kept.sum()), distance == 1))
    order = np.argsort(-np.concatenate(strengths), kind="stable")
    one, other, joins = (np.concatenate(each)[order].tolist() for each in (ends, partners, joining))
    return one, other, joins


def numbered(labels: Array) -> Array:
    """Return labels as 1 to n in the order of their values; 0 stays."""
    values, places = np.unique(labels, return_inverse=True)
    shift = 0 if len(values) and values[0] == 0 else 1
    return places.reshape(labels.shape).astype(np.int64) + shift


def without_fragments(labels: Array) -> Array:
    """Return instances of :data:`LEAST_PIXELS` or more: the smaller ones, the least first, join a neighbour."""
    sizes = np.bincount(labels.ravel())
    borders = _borders(labels, len(sizes))
    into = np.arange(len(sizes))
    for small in sorted(np.flatnonzero((sizes < LEAST_PIXELS) & (sizes > 0)).tolist(), key=lambda each: sizes[each]):
        if small == 0 or sizes[small] >= LEAST_PIXELS:  # others may have joined it
            continue
        beside = borders.pop(small, {})
        into[small] = goal = max(sorted(beside), key=lambda each: beside[each], default=0)
        sizes[goal] += sizes[small]
        for other, length in beside.items():
            del borders[other][small]
            if other != goal:
                for one, its in ((goal, other), (other, goal)):
                    borders[one][its] = borders[one].get(its, 0) + length
    while (into != into[into]).any():
        into = into[into]
    return numbered(into[labels])


def _borders(labels: Array, numbers: int) -> dict[int, dict[int, int]]:
    """Return how many pixels of each instance are beside those of each other one."""
    found: dict[int, dict[int, int]] = defaultdict(dict)
    beside = ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
    pairs = np.concatenate([np.stack([one.ravel(), other.ravel()]) for one, other in beside], axis=1)
    pairs = pairs[:, (pairs[0] != pairs[1]) & (pairs > 0).all(0)]
    codes, lengths = np.unique(pairs.min(0) * numbers + pairs.max(0), return_counts=True)
    for code, length in zip(codes.tolist(), lengths.tolist(), strict=True):
        one, other = divmod(code, numbers)
        found[one][other] = found[other][one] = length
    return found


class Agreement(NamedTuple):
    """How well instances agree with the true ones of an image.

    Attributes:
        sbd: symmetric best Dice, in [0, 1]: of each instance the Dice with the likest of the other side, the mean over
            instances, the lesser of the two sides; 1 where both sides have none.
        difference: found less true instances.
        split: entropy of the found instances within the true ones, in bits, over true foreground.
        merged: the same of the true within the found ones; both together are the variation of information.
        arand: 1 - F of pairs of pixels that both sides have together (adapted Rand error), over true foreground.
        matches: pairs of a found and a true instance that have more than half of their union in common.
        found: instances.
        true: instances.
    """

    sbd: float
    difference: int
    split: float
    merged: float
    arand: float
    matches: int
    found: int
    true: int


def agreement(found: Array, truth: Array) -> Agreement:
    """Compare instances ``[H, W]`` with the true ones, 0 of background on both sides."""
    found, truth = numbered(found), numbered(truth)
    table = np.zeros((found.max() + 1, truth.max() + 1))
    np.add.at(table, (found.ravel(), truth.ravel()), 1)
    inner, sizes_f, sizes_t = table[1:, 1:], table.sum(1)[1:, None], table.sum(0)[None, 1:]
    number_f, number_t = inner.shape
    if number_f and number_t:
        dice = 2 * inner / (sizes_f + sizes_t)
        sbd = min(dice.max(1).mean(), dice.max(0).mean())
    else:
        sbd = float(number_f == number_t)
    matches = int((inner / (sizes_f + sizes_t - inner) > 0.5).sum())
    # What is found beyond true foreground is not looked at, background that is found within it is one more piece.
    within = table[:, 1:]
    joint, of_found, of_true = _entropy(within), _entropy(within.sum(1)), _entropy(within.sum(0))
    same, in_found, in_true = (_pairs(each) for each in (within, within.sum(1), within.sum(0)))
    arand = 1 - 2 * same / (in_found + in_true) if in_found + in_true else 0.0
    return Agreement(sbd, number_f - number_t, joint - of_true, joint - of_found, arand, matches, number_f, number_t)


def _entropy(counts: Array) -> float:
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum())


def _pairs(counts: Array) -> float:
    return float((counts * (counts - 1)).sum())
