"""Image files that cannot be used."""

from collections.abc import Sequence
from typing import NamedTuple

from trg_pyg.errors import InputError, few


class BadImage(NamedTuple):
    """A file that cannot be used.

    Attributes:
        position: in the files that were tried.
        file: its path relative to the root.
        reason: why, in one line.
        damaged: whether the fault lies in its content, which is the same at every start; otherwise the system did not
            hand it out: permissions, a link to nowhere, the disk or the network.
    """

    position: int
    file: str
    reason: str
    damaged: bool


class BadImages(InputError):
    """Image files cannot be used; the message counts them and names a few.

    Attributes:
        failures: all of them.
    """

    def __init__(self, message: str, failures: Sequence[BadImage] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


def unreadable(failures: Sequence[BadImage], among: str, remedy: str, listed: object = None) -> BadImages:
    """Return the error that names failures.

    Args:
        failures: at least one.
        among: what they are of, for the message.
        remedy: what to do, for the message; of files that the system does not hand out the message says it itself.
        listed: file that lists all of them, or None.
    """
    if not any(failure.damaged for failure in failures):
        remedy = "see to their permissions, links or disk"
    return BadImages(f"{len(failures)} of {among} cannot be read: {described(failures, listed)}; {remedy}", failures)


def described(failures: Sequence[BadImage], listed: object = None) -> str:
    """Return ``"a, b and 7 more (the first: why)"``, and which file lists all, if one does."""
    more = "" if listed is None else f"; all of them are in {listed}"
    return f"{few([failure.file for failure in failures])} (the first: {failures[0].reason}{more})"
