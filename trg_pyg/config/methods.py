"""The methods of a study: distillers by class name with their options, and variants under names of their own."""

from argparse import ArgumentError
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml
from jsonargparse import Namespace

from trg_pyg.config.messages import class_at, one_line
from trg_pyg.config.schema import DistillerFactory
from trg_pyg.config.strict import Parser, check_none
from trg_pyg.config.variants import WITH_KD, check_known, check_variants
from trg_pyg.distillers.base import Taps
from trg_pyg.distillers.kd import KD
from trg_pyg.errors import InputError, require

# Used where neither a configuration nor the command line names a method.
DEFAULT_METHODS = ["Vanilla", "KD", "TRG"]


@dataclass(frozen=True)
class Method:
    """A distiller that was chosen.

    Attributes:
        name: its class name, with ``+KD`` where it was joined with logit distillation; or that of a variant.
        settings: class path and options, as a configuration file has them.
        needs_teacher: whether it compares with a teacher.
        taps: the features that it reads where the configuration names none.
        build: makes it for a student and a teacher.
        is_variant: whether the name is one of ``variants``.
    """

    name: str
    settings: dict[str, Any]
    needs_teacher: bool
    taps: Taps
    build: DistillerFactory
    is_variant: bool = False


def read_methods(given: Namespace, typed: Collection[str] = ()) -> list[Method]:
    """Return the chosen methods: variants, and classes with the options that were given for each.

    Args:
        given: what was parsed, of which methods, distiller, method_options and variants are looked at.
        typed: names of the options on the command line, whose methods may be some rows of a file's table.

    Raises:
        InputError: a method is unknown, there twice, or has options that it can't have; or options are given that no
            method uses.
    """
    check_variants(given.variants)
    variants = {
        name: replace(_method(_parsed(value, f"variants.{name}: ")), name=name, is_variant=True)
        for name, value in given.variants.items()
    }
    distillers: dict[type, Namespace] = {}
    for name, options in given.method_options.items():
        distiller = _parsed({"class_path": name, "init_args": options}, f"method_options.{name}: ")
        cls = class_at(distiller.class_path)
        require(cls not in distillers, f"method_options.{name}: {cls.__name__} is there twice; keep one")
        distillers[cls] = distiller
    if given.distiller:
        _check_options(given.distiller)
        cls = class_at(given.distiller.class_path)
        require(
            cls not in distillers,
            f"method_options.{cls.__name__}: distiller gives options of {cls.__name__} too; keep one, or name the "
            "class in methods instead of distiller",
        )
        distillers[cls] = given.distiller
    require(given.methods != [], "methods: the list is empty; name at least one, such as KD")
    if given.distiller and not given.methods:
        methods = [_method(given.distiller)]
    else:
        names = given.methods or list(variants) or DEFAULT_METHODS
        methods = [variants[name] if name in variants else _named(name, distillers, variants) for name in names]
    names = [method.name for method in methods]
    require(len(set(names)) == len(names), f"methods: {names} names one twice")
    _check_different(methods)
    _check_used(given, methods, typed)
    return methods


def _check_used(given: Namespace, methods: list[Method], typed: Collection[str]) -> None:
    """Refuse options that no method uses, unless they are a file's and the methods were picked on the command line."""

    def picked(key: str) -> bool:
        own = any(name == key or f"{name}.".startswith(f"{key}.") for name in typed)
        whole = key.partition(".")[0] in typed
        return "methods" in typed and not own and not whole

    rows = {method.name for method in methods}
    used = {class_at(method.settings["class_path"]) for method in methods if not method.is_variant}
    for name in given.variants:
        known = name in rows or picked(f"variants.{name}")
        require(known, f"variants.{name}: nothing uses it; name it in methods, or leave it out")
    for name in given.method_options:
        cls = class_at(_parsed(name).class_path)
        known = cls in used or picked(f"method_options.{name}")
        require(known, f"method_options.{name}: nothing uses it; name {cls.__name__} in methods, or leave it out")
    if given.distiller:
        cls = class_at(given.distiller.class_path)
        known = cls in used or picked("distiller")
        remedy = f"name {cls.__name__} in methods, or leave distiller out"
        require(known, f"distiller={cls.__name__}: nothing uses it, the methods are {', '.join(rows)}; {remedy}")


def _named(name: str, distillers: dict[type, Namespace], variants: dict[str, Method]) -> Method:
    """Return the method of a class name, a dotted path, or one of these joined with KD."""
    check_known(name, variants)
    base = name.removesuffix(WITH_KD)
    distiller = _parsed(base)
    cls = class_at(distiller.class_path)
    distiller = distillers.get(cls, distiller)
    if base == name:
        return _method(distiller)
    require(not issubclass(cls, KD), f"methods={name}: {cls.__name__} already is KD; name it without {WITH_KD}")
    options = distiller.as_dict().get("init_args", {})
    require(
        "kd_weight" in options,
        f"methods={name}: {cls.__name__} has no option kd_weight, so nothing joins it with KD; name {base}",
    )
    joined = _parsed({"class_path": distiller.class_path, "init_args": options | {"kd_weight": 1.0}})
    return replace(_method(joined), name=cls.__name__ + WITH_KD)


def _check_different(methods: list[Method]) -> None:
    for i, method in enumerate(methods):
        for other in methods[:i]:
            remedy = (
                "class and options; leave one out, or change an option in variants"
                if method.is_variant or other.is_variant
                else "kd_weight is 1 in both; leave one out, or set kd_weight in method_options"
            )
            same = f"methods: {other.name} and {method.name} are the same"
            require(method.settings != other.settings, f"{same}, {remedy}")


@cache
def _parser() -> Parser:
    """Return the parser of one distiller: apart, so that the options of one class never become those of another."""
    parser = Parser()
    parser.add_argument("--distiller", type=DistillerFactory | None)
    return parser


def _parsed(distiller: Any, place: str = "") -> Namespace:
    """Return class path and all options of a distiller that is named, or given as a file has it."""
    try:
        parsed = _parser().parse_object({"distiller": distiller}).distiller
    except ArgumentError as error:
        raise InputError(place + one_line(str(error), _parser())) from error
    _check_options(parsed, place)
    return parsed


def _check_options(distiller: Namespace, place: str = "") -> None:
    options = distiller.get("init_args") or Namespace()
    check_none(options, class_at(distiller.class_path), f"{place}distiller.")


def _method(distiller: Namespace) -> Method:
    """Return the method of a distiller that was parsed."""
    one, cls = Namespace(distiller=distiller), class_at(distiller.class_path)
    settings = yaml.safe_load(_parser().dump(one, skip_unset=False))["distiller"]
    if settings["class_path"] == f"trg_pyg.{cls.__name__}":  # the shortest path to it, which is not its stable one
        settings["class_path"] = f"trg_pyg.distillers.{cls.__name__}"
    return Method(cls.__name__, settings, cls.needs_teacher, cls.taps, _parser().instantiate(one).distiller)
