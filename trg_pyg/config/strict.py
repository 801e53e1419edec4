"""YAML as a person reads it: no key twice, no number that YAML 1.1 takes for another, one value for a list of one."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from os import PathLike
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from trg_pyg.errors import InputError, require

# Keys of a configuration whose values are lists of names and numbers, with a form of them.
_LISTS = {"seeds": "[0, 1, 2]", "methods": "[KD, TRG]"}
# 010 is octal, 1:30 of base 60.
_ODD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_of_yaml = get_loader("yaml")


class Parser(ArgumentParser):
    """A parser that takes options by their whole names, raises what is wrong, and reads YAML as this module has it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**dict[str, Any](exit_on_error=False, allow_abbrev=False, parser_mode="strict"), **options})

    def parse_path(self, path: str | PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Read a configuration file.

        Raises:
            InputError: it is none.
        """
        _check_configuration(Path(path))
        return super().parse_path(path, *args, **kwargs)

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Namespace:
        """Read the text of a configuration, in which a single seed or method needs no brackets."""
        return super().parse_string(_with_brackets(content), *args, **kwargs)


def read_yaml(file: Path, place: str) -> Any:
    """Return what a YAML file holds.

    Args:
        file: to read.
        place: what the message begins with.

    Raises:
        InputError: it is no YAML, or YAML that a person reads otherwise.
        OSError: it cannot be read.
    """
    try:
        text = file.read_text("utf-8")
        check_yaml(text)
        return yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: byte {error.start} is no UTF-8 ({error.reason}); save it as UTF-8") from error
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{place}: nested too deeply to be read; write its keys as --help has them") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{place}: no YAML ({' '.join(str(error).split())}); mend it, or leave it out") from error


def check_yaml(text: str) -> None:
    """Refuse YAML that a person reads otherwise than YAML 1.1 does.

    Raises:
        InputError: a key stands twice, of which the last one would count; or a number looks like one of base 10 and is
            none.
        yaml.YAMLError: it is no YAML.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    top = root.value if isinstance(root, MappingNode) else []
    free = [value for key, value in top if key.value == "variants"]  # whose names may have dots
    for node in _nodes(root):
        if isinstance(node, MappingNode):
            _check_keys(node, dotted=node not in free)
        elif _is_odd(node):
            read = yaml.safe_load(node.value)
            raise InputError(
                f"line {_line(node)}: {node.value} would be read as {read}; write the number that is meant without a "
                f"leading 0 or a colon, or '{node.value}' in quotes for a text"
            )


def check_numbers(argv: Sequence[str], given: Namespace) -> None:
    """Refuse numbers of a command line that are not of base 10 although they look like that, such as 1:30.

    Raises:
        InputError: one of them was taken for another number.
    """
    option = ""
    for argument in argv:
        value = argument
        if argument.startswith("--"):
            option, _, value = argument[2:].partition("=")
        group, _, inner = option.partition(".")
        read = given.get(option, given.get(f"{group}.init_args.{inner}"))
        if ":" in value and _ODD_NUMBER.fullmatch(value) and isinstance(read, int | float | list):
            raise InputError(f"{option}={value}: it would be read in base 60; write the number that is meant")


def check_none(given: Namespace, owner: type, prefix: str = "") -> None:
    """Refuse keys of a file that stand there without a value, where there must be one.

    Args:
        given: values by name.
        owner: class whose constructor takes them.
        prefix: of the names in the message.

    Raises:
        InputError: one of them is ``None``, and its type says that it must not be.
    """
    kinds: dict[str, Any] = {}
    for cls in reversed(owner.__mro__):
        with suppress(NameError, TypeError):  # of somebody else's annotations
            kinds |= get_type_hints(vars(cls).get("__init__"))
    for name, value in vars(given).items():
        kind = kinds.get(name, Any)
        if is_dataclass(kind) and isinstance(kind, type):
            check_none(value, kind, f"{prefix}{name}.")
        elif value is None and kind is not Any:
            optional = type(None) in get_args(kind)
            require(optional, f"{prefix}{name}: it has no value; give one, or leave the key out")


def _check_keys(node: MappingNode, dotted: bool) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value in lines:
            first, second = lines[key.value], _line(key)
            where = "" if first == second else f", on lines {first} and {second}"
            raise InputError(f"{key.value} stands twice{where}; keep one of them")
        lines[key.value] = _line(key)
    for name in lines if dotted else ():
        for group in (name[:place] for place, letter in enumerate(name) if letter == "."):
            beside = f"{name} on line {lines[name]} stands beside {group} on line {lines.get(group)}"
            require(group not in lines, f"{beside}; write it in there")


def _load(text: str) -> Any:
    """Return a value of a command line or a file."""
    if _is_odd(yaml.compose(text, yaml.SafeLoader)):
        return text  # refused where a number belongs; a name or a folder may look like that
    check_yaml(text)
    return _of_yaml(text)


set_loader("strict", _load, (yaml.YAMLError,))


def _check_configuration(file: Path) -> None:
    content = read_yaml(file, f"config={file}")
    if not isinstance(content, dict):
        what = "it is empty" if content is None else f"it holds a {type(content).__name__}"
        raise InputError(f"config={file}: {what}; write keys with values, as --print_config shows them")
    require(
        not {"method", "parameters"} <= content.keys(),
        f"config={file}: that is the file of a sweep; give it to trg sweep",
    )
    if all(value is None for value in content.values()):
        raise InputError(f"config={file}: {', '.join(map(str, content))} without a value; give one, or leave it out")


def _with_brackets(content: str) -> str:
    try:
        root = yaml.compose(content, yaml.SafeLoader)
    except yaml.YAMLError:
        return content  # said by who reads it
    for key, value in reversed(root.value if isinstance(root, MappingNode) else []):
        form = _LISTS.get(key.value) if isinstance(key, ScalarNode) else None
        if form is None or value.tag == "tag:yaml.org,2002:null":
            continue
        require(not isinstance(value, MappingNode), f"{key.value}: write a list, such as {form}")
        start, end = value.start_mark.index, value.end_mark.index
        if isinstance(value, ScalarNode) and start > key.end_mark.index:  # elsewhere, it is that of an anchor
            content = f"{content[:start]}[{content[start:end]}]{content[end:]}"
    return content


def _nodes(root: Node | None) -> Iterator[Node]:
    """Return the nodes of a document in their order, each once, although an anchor may be named within itself."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, MappingNode):
            waiting += [each for pair in reversed(node.value) for each in reversed(pair)]
        elif isinstance(node, SequenceNode):
            waiting += reversed(node.value)


def _is_odd(node: Node | None) -> bool:
    return isinstance(node, ScalarNode) and node.tag in _NUMBERS and bool(_ODD_NUMBER.fullmatch(node.value))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
