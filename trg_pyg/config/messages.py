"""What jsonargparse says in many lines, in one that names the place, the value and the remedy."""

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser

from trg_pyg._discover import subclasses
from trg_pyg.data.base import Data
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import near, nearest

# What is chosen by the name of a class, and the arguments of a distiller that are no options.
BASES: dict[str, type] = {"data": Data, "distiller": Distiller}
NETWORKS = {"student", "teacher"}
# How a value of a kind is written that has no form of its own on a command line.
_EXAMPLES = {
    "list": ", such as [1, 2]",
    "dict": ", such as {key: value}",
    "tuple": ", such as [0.5, 0.5, 0.5]",
    "tuple of 3": ", such as [0.5, 0.5, 0.5]",
}
_LISTS = {"taps": ", such as [layer2, layer3]", "wandb_tags": ", such as [baseline, cifar]"}
# Values of options whose defaults show none.
_VALUES = {
    "methods": "KD TRG",
    "seeds": "0 1 2",
    "config": "study.yaml",
    "recipe": "crd",
    "teacher_recipe": "crd",
    "table": "table.md",
    "data": "CIFAR100",
    "distiller": "TRG",
}


def one_line(message: str, parser: ArgumentParser, argv: Sequence[str] = ()) -> str:
    """Return the line for a message of the parser's ``ArgumentError``.

    Args:
        message: of the error.
        parser: that raised it.
        argv: the command line, where there is one.
    """
    if lacking := re.search(r"argument --([\w.]+)\S*: expected (?:at least )?(?:one|1) argument", message):
        return _without_value(lacking[1], parser, argv)
    if flag := re.search(r"argument --(\w+)\S*: ignored explicit argument '(.*)'", message):
        return f"{flag[1]}={flag[2]}: it takes no value; write --{flag[1]}, or leave it out"
    stray = re.search(r"unrecognized arguments: (--(?: \S+)?(?= |$)|[^-\s]\S*)", message)
    if stray:
        return (
            f"unexpected argument {stray[1]}: values follow an option, such as --methods KD TRG; --resume, "
            "--dry_run and --quiet take none"
        )
    if whole := re.search(
        r"(?s)Parser key \"(\w+(?:\.train)?)\": .*?Unable to load config ['\"](.*?)['\"](?= - |$)", message
    ):
        return _no_group(whole[1], whole[2])
    # An option without the name of a class is read as one of the class that all methods have in common.
    if without := re.search(r"(?s)Distiller'.*(?:NestedArg\(key='([^']+)'|Given value: (\{.*\}))", message):
        return _without_method(without[1], without[2])
    unknown = re.search(r"[Oo]ption '([^']+)'|unrecognized arguments: (\S+)", message)
    if unknown:
        return _unknown_key((unknown[1] or unknown[2]).lstrip("-").partition("=")[0], message, parser)
    unknown_class = re.search(r"(?s)Parser key \"([^\"]+)\".*Expected a dot import path string: (\S+)", message)
    if unknown_class:
        key, name = unknown_class.groups()
        known = [cls.__name__ for cls in subclasses(BASES.get(key, Distiller))]
        base = name.removesuffix("+KD")
        if base != name and base in known:
            return f"{key}={name}: no such class; name it in methods, or choose {base} with its option kd_weight"
        return f"{key}={name}: no such class{near(name, known)}; or give the dotted path of your own"
    if line := _dotted_path(message):
        return line
    key = ".".join(re.findall(r"Parser key \"([^\"]+)\"", message))
    value = re.search(r"Got value: (.*?)(?:\. Got value|$)|Given value:(?: (.*))?$", message, re.MULTILINE)
    literals = re.findall(r"typing\.Literal\[([^\]]+)\]", message)
    expected = re.findall(r"Expected a (?:<class '([^']+)'>|typing\.Literal\[([^\]]+)\]|(tuple) with 3)", message)
    choices = dict.fromkeys(plain or literal.replace("'", "") or f"{three} of 3" for plain, literal, three in expected)
    choices.pop("NoneType", None)
    if value and choices:
        given = value[1] or value[2] or ""
        remedy = next((text for kind, text in _EXAMPLES.items() if kind in choices), "")
        remedy = _LISTS.get(key.rpartition(".")[2], remedy)
        if " element " in message and "," in given:
            remedy = "; separate values by spaces"
        if key == "seeds" and re.search(r"\.\.|\d[-:]\d|range", given):
            remedy = "; write out the numbers, such as 0 1 2"
        if "int" in choices and re.fullmatch(r"-?\d+\.0+", given):
            remedy = f"; write {given.partition('.')[0]}"
        named = [name for literal in literals for name in literal.replace("'", "").split(", ")]
        return f"{key}={given}: expected {' or '.join(choices)}{remedy}{near(given, named, otherwise='')}"
    if no_path := re.search(r"Not of type Path: .* not (\w+)", message):
        return f"{key}: a path is expected, not {no_path[1]}; write it in quotes"
    missing = re.search(r"class_path '[^']*?(\w+)':\s+the following arguments are required: ([\w, ]+)", message)
    if missing and key:
        options = ", ".join(f"--{key}.{name}" for name in missing[2].split(", "))
        return f"{key}={missing[1]}: it needs {options}; {key}.help={missing[1]} describes its options"
    if absent := re.search(r"^the following arguments are required: (\w+)$", message):
        return f"{absent[1]}: it has no value; give one, or leave the key out"
    if re.search(r"^'?\w+'? object |has no attribute|dictionary changed", message):  # Python's own words
        return f"{key or 'config'}: a value of another form is expected; --print_config shows how it is written"
    reason = " ".join(re.sub(r"Parser key \"[^\"]+\":|Problem with given class_path '[^']+':", "", message).split())
    return f"{key}: {reason}" if key else reason


def _dotted_path(message: str) -> str:
    """Return what is wrong with the name of a class that could not be imported, or an empty line."""
    key = re.search(r"Parser key \"(data|distiller)\"", message)
    given = re.search(r"'class_path': '([^']+)'|class_path '([^']+)'|Given value: ([\w.]+)$", message, re.MULTILINE)
    if not key or not given:
        return ""
    base = BASES[key[1]]
    what = f"{key[1]}={next(filter(None, given.groups()))}"
    if missing := re.search(r"module '([^']+)' has no attribute '([^']+)'", message):
        there = vars(import_module(missing[1]))
        known = [cls.__name__ for cls in subclasses(base) if there.get(cls.__name__) is cls]
        return f"{what}: module {missing[1]} has no {missing[2]}{near(missing[2], known)}"
    if missing := re.search(r"No module named '([^']+)'", message):
        return f"{what}: no module named {missing[1]}; install it, or put the folder that it is in on PYTHONPATH"
    if several := re.search(r"Multiple subclasses with name .* ambiguity: ([\w., ]+)\.", message):
        return f"{what}: several classes have that name; give the dotted path: {several[1].replace(', ', ' or ')}"
    if re.search(r"Expected '[^']+' to be a subclass of", message):
        return f"{what}: it is no subclass of {base.__name__}; name one that is"
    if code := re.search(r"- (.+ \(\S+\.py, line \d+\))", message):
        return f"{what}: {code[1]}"
    return ""


def _without_value(key: str, parser: ArgumentParser, argv: Sequence[str]) -> str:
    """Return the line for an option that has no value."""
    # Of an option of a class, the parser names the class only.
    after = [*argv[1:], "--"]
    lacking = [option for option, value in zip(argv, after, strict=False) if value.startswith("--")]
    key = next((name[2:] for name in lacking if name.startswith(f"--{key}.") and "=" not in name), key)
    if key.removesuffix(".help") in BASES and key.endswith(".help"):
        return f"{key}: name a class"
    default = parser.get_defaults(skip_validation=True).get(key)
    forms = {"bool": "true", "list": "[1, 2]", "dict": '"{key: value}"', "NoneType": "VALUE", "Namespace": "VALUE"}
    shown = _VALUES.get(key, forms.get(type(default).__name__, default))
    return f"{key}: it needs a value, such as --{key} {shown}"


def _no_group(key: str, given: str) -> str:
    """Return the line for a single value in the place of a group of keys."""
    if given.endswith((".yaml", ".yml")):
        return f"{key}={given}: no such file, or none that holds keys of {key}"
    if key in NETWORKS:
        option = "weights" if given.endswith((".pt", ".pth", ".safetensors")) else "name"
        return f"{key}={given}: write --{key}.{option} {given}, or in a file {key}: {{{option}: {given}}}"
    return f"{key}={given}: it has keys of its own, which --help shows; set those, such as --{key}.epochs 30"


def _without_method(option: str | None, given: str | None) -> str:
    """Return the line for options of a distiller without its class."""
    name, cls = option or "OPTION", "TRG"
    if option is not None:
        owners = {known: cls.__name__ for cls in subclasses(Distiller) for known in options_of(cls)}
        found = nearest(option, owners)
        # Options that many have are TRG's as well.
        name = found[0] if found else name
        cls = owners.get(name, cls) if name not in options_of(class_at("trg_pyg.distillers.TRG")) else cls
    what = f"distiller.{option}" if option else f"distiller={given}"
    return (
        f"{what}: of which method? Name it first, as --distiller {cls} --distiller.{name}, or in a file as "
        f"{{class_path: {cls}, init_args: {{{name}: value}}}}"
    )


def _unknown_key(key: str, message: str, parser: ArgumentParser) -> str:
    owner = re.search(r"class_path[= ]'([^']+)'", message)
    if owner:
        cls = class_at(owner[1])
        if key in ("class_path", "init_args"):
            return (
                f"{cls.__name__}: write a class and its options as {{class_path: NAME, init_args: {{OPTION: value}}}}"
            )
        return f"unknown option {key} of {cls.__name__}{_near_option(key, cls)}"
    # Those of the data set that is the default are not keys of the study.
    known = parser.get_defaults(skip_validation=True).keys(branches=True)
    keys = [name for name in known if ".class_path" not in name and ".init_args" not in name]
    group = re.search(r"Group '([^']+)'", message)
    if group:
        inner = [name.removeprefix(f"{group[1]}.") for name in keys if name.startswith(f"{group[1]}.")]
        return f"unknown key {key} in {group[1]}{near(key, inner)}"
    of_classes = {
        f"{base}.{option}"
        for base, kind in BASES.items()
        if base in keys
        for cls in subclasses(kind)
        for option in options_of(cls)
    }
    return f"unknown key {key}{near(key, [*keys, *of_classes, 'help', 'help_all', 'print_config'])}"


def _near_option(key: str, cls: type) -> str:
    """Return the options of a class that are near to one that it has not, or the classes that have it."""
    options = options_of(cls)
    base, kind = next((name, kind) for name, kind in BASES.items() if issubclass(cls, kind))
    owners = [each.__name__ for each in subclasses(kind) if key.casefold() in map(str.casefold, options_of(each))]
    if nearest(key, options) or not owners:
        return near(key, options)
    has = "has" if len(owners) == 1 else "have"
    return f"; {', '.join(owners)} {has} it: name the class first, as --{base} {owners[0]}"


@cache
def options_of(cls: type) -> list[str]:
    """Return the names of the options of a data set or a distiller."""
    skip = NETWORKS if issubclass(cls, Distiller) else set()
    return list(ArgumentParser().add_class_arguments(cls, skip=skip, fail_untyped=False))


def class_at(path: str) -> Any:
    """Return the class that a dotted path names."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
