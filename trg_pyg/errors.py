"""The one kind of error that a person can mend by changing what they asked for."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Bad input: the message names the value, the place and the remedy in one line.

    Everything in this package that refuses an argument, a file or a configuration raises this class, so that a
    program can show the line and stop, while a programming mistake keeps its traceback.

    What cannot be printed, such as a line break in the name of a file, is shown as an escape sequence.
    """

    # Not done when the error is made: torch.compile, which runs forward passes that raise it, cannot follow that.
    def __str__(self) -> str:
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in super().__str__())


def an(noun: str) -> str:
    """Return a noun with its article: an image, a clip."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def near(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return ``"; did you mean a, b?"`` for the names nearest to ``name``.

    Args:
        name: what was given.
        known: what there is.
        otherwise: returned where no name is near; by default the known names, if they are few.
    """
    known = sorted(known)
    close = nearest(name, known)
    if close:
        return f"; did you mean {', '.join(close)}?"
    if otherwise is not None:
        return otherwise
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 20 else ""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the names nearest to ``name``, three at most, the nearest first.

    Case does not count, nor whether words are joined by ``-`` or ``_``; a name without a dot is looked for in groups
    too, so that ``lr`` finds ``train.lr``.
    """
    given, scores = _folded(name), {}
    for each in known:
        whole = _folded(each)
        scores[each] = difflib.SequenceMatcher(None, whole, given).ratio()
        if "." in whole and "." not in name:
            last = difflib.SequenceMatcher(None, whole.rpartition(".")[2], given).ratio()
            scores[each] = max(scores[each], 0.95 * last)
    best = max(scores.values(), default=0.0)
    least = 1.0 if best == 1 else max(best - 0.2, 0.5)
    # Of equals the last by name: layer3 is nearer to layer4 than layer1 is.
    ranked = sorted(sorted(scores, reverse=True), key=lambda each: (-scores[each], len(each)))
    return [each for each in ranked if scores[each] >= least][:3]


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first ``most`` names and how many more there are: ``"a, b, c and 7 more"``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def count(number: int, what: str) -> str:
    """Return a number with its noun, in the plural unless it is 1: ``"1 class"``, ``"1,438 images"``."""
    plural = f"{what}es" if what.endswith(("s", "x", "tch")) else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def require(condition: bool, message: str) -> None:
    """Raise :class:`InputError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``choices``."""
    require(value in choices, f"{name}={value}: choose {' or '.join(choices)}")


def check_positive(name: str, value: float) -> None:
    """Raise :class:`InputError` unless ``value`` is above 0."""
    require(value > 0, f"{name}={value}: it must be positive")


def check_channels(mean: Sequence[float] | None, std: Sequence[float] | None, owner: str = "") -> None:
    """Raise :class:`InputError` unless channel statistics are those of pixels in [0, 1]; ``None`` is not looked at.

    Args:
        mean: of each channel.
        std: of each channel.
        owner: what their names begin with in the message, such as ``"teacher."``.
    """
    for name, values in (("mean", mean), ("std", std)):
        sound = values is None or all(0 <= value <= 1 and (value > 0 or name == "mean") for value in values)
        bounds = "[0, 1]" if name == "mean" else "(0, 1]"
        require(sound, f"{owner}{name} {values} is outside {bounds}; divide values for pixels of 0..255 by 255")
