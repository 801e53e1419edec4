"""What jsonargparse says in many lines, in one that names the place, the value and the remedy."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from trg_pyg._discover import subclasses
from trg_pyg.data.base import ImageData
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import near

# What is chosen by the name of a class, and the arguments of a distiller that are no options.
BASES: dict[str, type] = {"data": ImageData, "distiller": Distiller}
NETWORKS = {"student", "teacher"}
# How a value of a kind is written that has no form of its own on a command line.
_EXAMPLES = {"list": ", such as [1, 2]", "dict": ", such as {key: value}"}


def one_line(message: str, parser: ArgumentParser) -> str:
    """Return the line for a message of the parser's ``ArgumentError``."""
    stray = re.search(r"unrecognized arguments: ([^-\s]\S*)", message)
    if stray:
        return (
            f"unexpected argument {stray[1]}: values follow an option, such as --methods KD TRG; --resume, "
            "--dry_run and --quiet take none"
        )
    # An option without the name of a class is read as one of the class that all methods have in common.
    if without := re.search(r"(?s)Distiller'.*(?:NestedArg\(key='([^']+)'|Given value: (\{.*\}))", message):
        given = f"distiller.{without[1]}" if without[1] else f"distiller={without[2]}"
        return (
            f"{given}: of which method? Name it first, as --distiller TRG --distiller.OPTION, or in a file as "
            "{class_path: TRG, init_args: {OPTION: value}}"
        )
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
    if nameless := re.search(r"--(\w+\.help): expected one argument", message):
        return f"{nameless[1]}: name a class"
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


def of_file(message: str, argv: Sequence[str]) -> str:
    """Return what is wrong with the first of the files that is no configuration, or an empty line.

    Args:
        message: of the parser's ``ArgumentError``.
        argv: the command line that names the files.
    """
    if not message.startswith(("Unexpected config", "Problems parsing config")):
        return ""
    for file in _config_files(argv):
        try:
            content = yaml.safe_load(Path(file).read_text("utf-8"))
        except RecursionError:
            return f"config={file}: nested too deeply to be read; write its keys as --help has them"
        except (yaml.YAMLError, ValueError) as error:
            return f"config={file}: no YAML ({' '.join(str(error).split())}); mend it, or leave it out"
        if not isinstance(content, dict):
            what = "it is empty" if content is None else f"it holds a {type(content).__name__}"
            return f"config={file}: {what}; write keys with values, as --print_config shows them"
    return ""


def undecodable(error: UnicodeDecodeError, argv: Sequence[str]) -> str:
    """Return the line for a file named as a configuration that is no text."""
    for file in _config_files(argv):
        try:
            Path(file).read_text("utf-8")
        except UnicodeDecodeError:
            break
    return f"config={file}: byte {error.start} is no UTF-8 ({error.reason}); save it as UTF-8"


def _config_files(argv: Sequence[str]) -> Iterator[str]:
    for option, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = option.partition("=")
        file = value if equals else following
        if name == "--config" and Path(file).is_file():
            yield file


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


def _unknown_key(key: str, message: str, parser: ArgumentParser) -> str:
    owner = re.search(r"class_path[= ]'([^']+)'", message)
    if owner:
        cls = class_at(owner[1])
        options = ArgumentParser().add_class_arguments(cls, skip=NETWORKS if issubclass(cls, Distiller) else set())
        return f"unknown option {key} of {cls.__name__}{near(key, options)}"
    # Those of the data set that is the default are not keys of the study.
    known = parser.get_defaults(skip_validation=True).keys(branches=True)
    keys = [name for name in known if ".class_path" not in name and ".init_args" not in name]
    group = re.search(r"Group '([^']+)'", message)
    if group:
        inner = [name.removeprefix(f"{group[1]}.") for name in keys if name.startswith(f"{group[1]}.")]
        return f"unknown key {key} in {group[1]}{near(key, inner)}"
    return f"unknown key {key}{near(key, [*keys, 'help', 'help_all', 'print_config'])}"


def class_at(path: str) -> Any:
    """Return the class that a dotted path names."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
