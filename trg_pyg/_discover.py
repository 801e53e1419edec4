"""The classes that there are of a kind: those that have been imported."""

import inspect


def subclasses(base: type) -> list[type]:
    """Return every class below ``base`` that is not abstract, sorted by name."""
    found: set[type] = set()
    waiting: list[type] = [base]
    while waiting:
        children: list[type] = waiting.pop().__subclasses__()
        waiting += children
        found.update(cls for cls in children if not inspect.isabstract(cls))
    return sorted(found, key=lambda cls: cls.__name__)


def own_names(base: type) -> list[str]:
    """Return the names of those that are the package's own, whatever else has been imported."""
    return [cls.__name__ for cls in subclasses(base) if cls.__module__.startswith("trg_pyg.")]
