"""Hints for names out of long lists."""

from collections.abc import Iterable

from trg_pyg.errors import near


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint of :func:`trg_pyg.errors.near`, or ``otherwise`` where no name is near.

    A network has hundreds of module paths and timm more than a thousand models: too many to list in one line.
    """
    hint = near(name, known)
    return hint if hint.startswith("; did you mean") else otherwise
