"""What jsonargparse says in many lines, in one that names the place, the value and the remedy."""

import re
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser

from trg_pyg._discover import subclasses
from trg_pyg.data.base import ImageData
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import near

# How a value of a kind is written that has no form of its own on a command line.
_EXAMPLES = {"list": ", such as [1, 2]", "dict": ", such as {key: value}"}


def one_line(message: str, parser: ArgumentParser) -> str:
    """Return the line for a message of the parser's ``ArgumentError``."""
    stray = re.search(r"unrecognized arguments: ([^-\s]\S*)", message)
    if stray:
        return (
            f"unexpected argument {stray[1]}: values follow an option, such as --methods KD TRG, and --resume and "
            "--quiet take none"
        )
    unknown = re.search(r"[Oo]ption '([^']+)'|unrecognized arguments: (\S+)", message)
    if unknown:
        return _unknown_key((unknown[1] or unknown[2]).lstrip("-").partition("=")[0], message, parser)
    unknown_class = re.search(r"(?s)Parser key \"([^\"]+)\".*Expected a dot import path string: (\S+)", message)
    if unknown_class:
        key, name = unknown_class.groups()
        known = [cls.__name__ for cls in subclasses({"data": ImageData}.get(key, Distiller))]
        base = name.removesuffix("+KD")
        if base != name and base in known:
            return f"{key}={name}: no such class; name it in methods, or choose {base} with its option kd_weight"
        return f"{key}={name}: no such class{near(name, known)}; or give the dotted path of your own"
    if unknown_help := re.search(r"--(data|distiller)\.help: (?:Expected a dot import path string: (\S+))?", message):
        known = [cls.__name__ for cls in subclasses({"data": ImageData}.get(unknown_help[1], Distiller))]
        name = unknown_help[2]
        return f"{unknown_help[1]}.help" + (f"={name}: no such class{near(name, known)}" if name else ": name a class")
    if without := re.search(r"Dict must include a class_path.*(?:NestedArg\(key='([^']+)'|got (\{.*\}))", message):
        given = f"distiller.{without[1]}" if without[1] else f"distiller={without[2]}"
        return (
            f"{given}: of which method? Name it first, as --distiller TRG --distiller.OPTION, or in a file as "
            "{class_path: TRG, init_args: {OPTION: value}}"
        )
    if line := _dotted_path(message):
        return line
    key = ".".join(re.findall(r"Parser key \"([^\"]+)\"", message))
    value = re.search(r"Got value: (.*?)(?:\. Got value|$)|Given value: (.+)", message, re.MULTILINE)
    expected = re.findall(r"Expected a (?:<class '([^']+)'>|typing\.Literal\[([^\]]+)\])", message)
    choices = dict.fromkeys(plain or literal.replace("'", "") for plain, literal in expected)
    choices.pop("NoneType", None)
    if value and choices:
        given = value[1] or value[2] or ""
        remedy = next((text for kind, text in _EXAMPLES.items() if kind in choices), "")
        if key.endswith(".taps"):
            remedy = ", such as [layer2, layer3]"
        if " element " in message and "," in given:
            remedy = "; separate values by spaces"
        return f"{key}={given}: expected {' or '.join(choices)}{remedy}"
    missing = re.search(r"class_path '[^']*?(\w+)':\s+the following arguments are required: ([\w, ]+)", message)
    if missing and key:
        options = ", ".join(f"--{key}.{name}" for name in missing[2].split(", "))
        return f"{key}={missing[1]}: it needs {options}; {key}.help={missing[1]} describes its options"
    reason = " ".join(re.sub(r"Parser key \"[^\"]+\":|Problem with given class_path '[^']+':", "", message).split())
    return f"{key}: {reason}" if key else reason


def _dotted_path(message: str) -> str:
    """Return what is wrong with the name of a class that could not be imported, or an empty line."""
    key = re.search(r"Parser key \"(data|distiller)\"", message)
    given = re.search(r"'class_path': '([^']+)'|class_path '([^']+)'|Given value: ([\w.]+)$", message, re.MULTILINE)
    if not key or not given:
        return ""
    base: type = {"data": ImageData}.get(key[1], Distiller)
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


def _unknown_key(key: str, message: str, parser: ArgumentParser) -> str:
    owner = re.search(r"class_path[= ]'([^']+)'", message)
    if owner:
        cls = class_at(owner[1])
        return f"unknown option {key} of {cls.__name__}{near(key, options_of(cls))}"
    keys = [action.dest for action in parser._actions]
    group = re.search(r"Group '([^']+)'", message)
    if group:
        inner = [known.removeprefix(f"{group[1]}.") for known in keys if known.startswith(f"{group[1]}.")]
        return f"unknown key {key} in {group[1]}{near(key, inner)}"
    return f"unknown key {key}{near(key, keys)}"


def options_of(cls: type) -> list[str]:
    """Return the names of the options that a dataset or distiller takes."""
    parser = ArgumentParser()
    parser.add_class_arguments(cls, skip={"student", "teacher"} if issubclass(cls, Distiller) else None)
    return [action.dest for action in parser._actions if action.dest != "help"]


def class_at(path: str) -> Any:
    """Return the class that a dotted path names."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
