"""One property for any input: a result, or an InputError of one line. Inputs are counted as they are given."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from trg_pyg.errors import InputError

TALLY: dict[str, Counter[str]] = defaultdict(Counter)


@contextmanager
def judged(kind: str) -> Iterator[None]:
    """Count an input of a kind; let it be refused by an ``InputError`` of one line and by nothing else."""
    TALLY[kind]["inputs"] += 1
    try:
        yield
    except InputError as error:
        line = str(error)
        assert line.strip()
        assert len(line.splitlines()) == 1, f"not one line: {line!r}"
        TALLY[kind]["refused"] += 1
    else:
        TALLY[kind]["accepted"] += 1


@contextmanager
def file_of(content: bytes, name: str) -> Iterator[Path]:
    """A file, alone in a folder, while a context lasts."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        yield file


def fuzz(quick: int, full: int, **strategies: SearchStrategy) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test of a function of drawn inputs: ``quick`` of them by default, ``full`` of them with ``-m slow``."""

    def make(check: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize("examples", [quick, pytest.param(full, marks=pytest.mark.slow)], ids=["quick", "full"])
        def test(examples: int) -> None:
            run: Any = given(**strategies)(check)
            health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
            settings(max_examples=examples, deadline=None, suppress_health_check=health)(run)()

        test.__name__ = check.__name__
        return test

    return make


def table() -> list[str]:
    """The counts so far, a line a kind, and their sums."""
    rows = [(kind, *(counts[name] for name in ("inputs", "refused", "accepted"))) for kind, counts in TALLY.items()]
    rows = [*sorted(rows), ("all", *(sum(row[i] for row in rows) for i in (1, 2, 3)))]
    return [f"{kind:<28} {inputs:>7,} inputs {no:>7,} refused {yes:>7,} accepted" for kind, inputs, no, yes in rows]
