"""Lists of names inside one-line error messages."""

from collections.abc import Sequence


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first ``most`` names and how many more there are: ``"a, b, c and 7 more"``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
