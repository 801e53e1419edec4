"""Write the embedded English set of ``trg_pyg.data.Reviews``, trg_pyg/data/reviews.tsv, out of parts written for it.

    python experiments/data/reviews.py trg_pyg/data/reviews.tsv

A review has two opinions: two good ones are praise, two bad ones a complaint, one of each is mixed. One opinion in five
is turned round by a negation, so that words alone do not tell. What joins them, and a sentence beside them, tell
nothing. No text comes twice.
"""

import random
import sys
from pathlib import Path

THINGS = [
    *("soup", "coffee", "bread", "cake", "waiter", "music", "room", "garden"),
    *("menu", "tea", "service", "breakfast", "terrace", "salad", "kitchen", "bill"),
]
GOOD = ["good", "lovely", "excellent", "pleasant", "wonderful", "charming", "splendid", "delightful"]
BAD = ["bad", "awful", "poor", "dull", "terrible", "disappointing", "dreadful", "hopeless"]
PLAIN = [
    "the {thing} was {word}",
    "the {thing} was really {word}",
    "I found the {thing} {word}",
    "the {thing} seemed {word} to me",
    "we thought the {thing} {word}",
]
TURNED = [
    "the {thing} was not {word}",
    "nobody would call the {thing} {word}",
    "I never found the {thing} {word}",
    "the {thing} was anything but {word}",
]
JOINED = ["{one} and {two}", "{one}, {two}", "{one}; {two}", "{one} while {two}"]
BESIDE = [
    "We came on a Tuesday.",
    "It was raining.",
    "My sister chose the place.",
    "The train was late that day.",
    "We sat near the window.",
    "There were eight of us.",
    "I had read about it in the paper.",
    "",
    "",
]
EACH = 400


def opinion(good: bool, thing: str, draw: random.Random) -> str:
    """Return what is said of a thing."""
    turned = draw.random() < 0.2
    word = draw.choice(GOOD if good != turned else BAD)
    return draw.choice(TURNED if turned else PLAIN).format(thing=thing, word=word)


def review(kind: str, draw: random.Random) -> str:
    """Return a review of a kind."""
    first = draw.random() < 0.5
    good = {"praise": (True, True), "complaint": (False, False), "mixed": (first, not first)}[kind]
    one, two = (opinion(each, thing, draw) for each, thing in zip(good, draw.sample(THINGS, 2), strict=True))
    said = draw.choice(JOINED).format(one=one, two=two)
    parts = [said[0].upper() + said[1:] + ".", draw.choice(BESIDE)]
    if draw.random() < 0.5:
        parts.reverse()
    return " ".join(part for part in parts if part)


def reviews() -> list[tuple[str, str]]:
    """Return kind and text of all, kinds in turn."""
    draw, seen = random.Random(0), set[str]()
    rows: list[tuple[str, str]] = []
    while len(rows) < 3 * EACH:
        kind = ("complaint", "mixed", "praise")[len(rows) % 3]
        text = review(kind, draw)
        if text not in seen:
            seen.add(text)
            rows.append((kind, text))
    return rows


if __name__ == "__main__":
    lines = ["label\ttext", *("\t".join(row) for row in reviews())]
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
