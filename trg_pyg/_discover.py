"""Makes a file in a package enough: its public classes and functions are exported without being listed anywhere."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any


def _modules(package: ModuleType) -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]
    found = []
    for name in names:
        module = importlib.import_module(f"{package.__name__}.{name}")
        found.extend(_modules(module) if hasattr(module, "__path__") else [module])
    return found


def export(package: ModuleType) -> list[str]:
    """Bind every public class and function defined in the modules of ``package`` to the package itself.

    Args:
        package: an imported package; its sub-packages are searched too.

    Returns:
        The names that were bound, sorted; a package assigns them to its ``__all__``.

    Raises:
        ImportError: two files define the same public name.
    """
    public: dict[str, Any] = {}
    for module in _modules(package):
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if name.startswith("_") or not own or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            if name in public:
                raise ImportError(f"{name} is defined in both {public[name].__module__} and {module.__name__}")
            public[name] = value
    vars(package).update(public)
    return sorted(public)


def subclasses(base: type) -> list[type]:
    """Return every class below ``base`` that is not abstract, sorted by name."""
    found: set[type] = set()
    waiting: list[type] = [base]
    while waiting:
        children: list[type] = waiting.pop().__subclasses__()
        waiting += children
        found.update(cls for cls in children if not inspect.isabstract(cls))
    return sorted(found, key=lambda cls: cls.__name__)
