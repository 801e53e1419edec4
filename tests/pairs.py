"""Fewer rows than a cross product has, which still hold each choice beside each other one."""

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any


def pairs(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Rows of one value of each axis, the same ones each time: any values of two axes stand together in one of them."""
    return pairs_among(product(*axes))


def pairs_among(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Some of the rows: any two values that stand together in a row do so in one of these."""
    rows, chosen = list(rows), []
    seen: set[Any] = set()
    places = len(rows[0])
    # First those of which every pair is new, last those with a single new one.
    for least in range(places * (places - 1) // 2, 0, -1):
        for row in rows:
            new = set(combinations(enumerate(row), 2)) - seen
            if len(new) >= least:
                seen |= new
                chosen.append(row)
    return chosen
