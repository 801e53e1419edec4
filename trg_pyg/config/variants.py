"""Rows of a study under names of one's own: the same class with several settings."""

import re
from collections.abc import Iterable
from typing import Any

from trg_pyg._discover import own_names, subclasses
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import near, require

# RKD+KD is RKD with kd_weight 1, as tables in the literature write it.
WITH_KD = "+KD"
_LONGEST = 100
# Of a folder's name: file systems take 255, and a hash follows.
_MOST_BYTES = 200


def folder_name(name: str) -> str:
    """Return a method's name as part of a path: what is not a letter, a digit or one of ``_.=+-`` becomes ``_``."""
    return re.sub(r"[^\w.=+-]+", "_", name).strip("_.-")


def is_dotted_path(name: str) -> bool:
    """Return whether a name has the form ``package.module.Class``."""
    return "." in name and all(part.isidentifier() for part in name.split("."))


def check_variants(variants: dict[str, Any]) -> None:
    """Refuse variants that have no usable name, or are not of the form of a distiller.

    Raises:
        InputError: a name can't be told from that of a class, or can't stand in the table or in a path; two names
            give one folder; a value is neither a class name nor a class path with options.
    """
    folders: dict[str, str] = {}
    for name, value in variants.items():
        _check_name(name)
        other = folders.setdefault(folder_name(name), name)
        require(
            other == name, f"variants: {other} and {name} would both have folders {folder_name(name)}-...; rename one"
        )
        options = value.get("init_args", {}) if isinstance(value, dict) else {}
        has_form = isinstance(value, dict) and value.keys() <= {"class_path", "init_args"}
        require(
            isinstance(value, str)
            or (has_form and isinstance(value.get("class_path"), str) and isinstance(options, dict)),
            f"variants.{name}={value}: write {{class_path: TRG, init_args: {{k: 4}}}}",
        )


def _check_name(name: Any) -> None:
    require(isinstance(name, str), f"variants: {name} is no text; write the name in quotes")
    folder = folder_name(name)
    require(
        any(map(str.isalnum, folder)) and name.isprintable() and name == name.strip() and "|" not in name,
        f"variants: {name!r} is no usable name; it needs a letter or a digit, and no |, control character or space at "
        "an end",
    )
    require(len(name) <= _LONGEST, f"variants.{name}: {len(name)} characters; give a name of at most {_LONGEST}")
    size = len(folder.encode())
    require(size <= _MOST_BYTES, f"variants.{name}: {size} bytes in a path; give a name of at most {_MOST_BYTES} bytes")
    require(
        not folder.endswith(WITH_KD),
        f"variants.{name}: {WITH_KD} stands for a class joined with KD; give the row another name, and kd_weight: 1 in "
        "its init_args",
    )
    # Which other classes have been imported must not decide what a configuration may say.
    require(
        folder not in own_names(Distiller) and not is_dotted_path(name),
        f"variants.{name}: that is the name of a class; give the row another name, such as {name.split('.')[-1]} 2",
    )


def check_known(name: str, variants: Iterable[str]) -> None:
    """Refuse a method that is neither a class nor a class joined with KD; variants only serve the message.

    Raises:
        InputError: the name is unknown, or is that of a variant with ``+KD``.
    """
    base, variants = name.removesuffix(WITH_KD), list(variants)
    require(
        base not in variants,
        f"methods={name}: {base} is a variant, complete in itself; add a variant of its class with kd_weight: 1 in "
        "init_args",
    )
    joined = "," in name or (" " in name and set(name.split()) <= set(class_names()))
    require(not joined, f"methods={name}: separate names by spaces, such as KD TRG, or in a file as [KD, TRG]")
    what = "class or variant" if variants else "class"
    known = [*class_names(), *variants]
    if "+" in name:
        known = [each + WITH_KD for each in class_names()]
    require(
        base in class_names() or is_dotted_path(base),
        f"methods={name}: no such {what}{near(name, known)}; or give the dotted path of your own",
    )


def class_names() -> list[str]:
    """Return the names of all distillers that are imported."""
    return [cls.__name__ for cls in subclasses(Distiller)]
