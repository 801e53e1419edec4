"""The parser of ``trg run``, and its help: by subject, a line or two for each option."""

import argparse
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from trg_pyg._discover import own_names, subclasses
from trg_pyg._program import program
from trg_pyg.config.messages import BASES, NETWORKS, class_at
from trg_pyg.config.recipes import RECIPES
from trg_pyg.config.schema import Config, MethodsConfig
from trg_pyg.config.strict import Parser
from trg_pyg.data.digits import Digits
from trg_pyg.errors import near, require

# What a study is told beside its configuration, as ``add_argument`` takes it.
START: dict[tuple[str, ...], dict[str, Any]] = {
    ("--config",): {"action": "config", "help": "YAML file; what is typed after it wins"},
    ("--methods",): {
        "nargs": "+",
        "type": str,
        "help": "distillers by class name, RKD+KD for RKD with kd_weight 1; each with the options that distiller or "
        "method_options give its class, else its defaults; or names of variants",
    },
    ("--recipe",): {
        "type": str,
        "help": f"a published training ({', '.join(RECIPES)}); it fills in what train and teacher.train leave open, "
        "milestones and warm-up in proportion where epochs is set",
    },
    ("--teacher_recipe",): {"type": str, "help": "the teacher's; without it that of the student"},
    ("--seeds",): {"nargs": "+", "type": int, "default": [0], "help": "one run of every method for each"},
    ("--table",): {
        "type": Path,
        "help": "file of the table; by default table.md in the folder of the pair; beside it, as .jsonl, all epochs",
    },
    ("--resume", "--auto_resume"): {
        "action": "store_true",
        "help": "continue runs that stopped; keep those that finished, start the others",
    },
    ("--overwrite",): {
        "action": "store_true",
        "help": "train runs anew that are finished, or stopped, in place of them",
    },
    ("--dry_run",): {"action": "store_true", "help": "say what would be done, and stop; nothing is written"},
    ("--quiet",): {"action": "store_true", "help": "nothing but warnings, errors and the table at the end"},
}
# Subject by the beginning of an option's name; the first that fits counts.
_SUBJECTS = {
    "data": ("data",),
    "student": ("student",),
    "teacher": ("teacher", "teacher_recipe"),
    "method": ("methods", *(each.name for each in fields(MethodsConfig))),
    "training of the student": ("recipe", "train"),
    "tracking": tuple(each.name for each in fields(Config) if each.name.startswith("wandb")),
    "run": ("",),
}
_COLUMN = 27
_MOST_COLUMNS = 120


def build_parser() -> Parser:
    """Return the parser of ``trg run``."""
    parser = Parser(
        prog=program("run"),
        description="Distil a student and print a table of methods.",
        add_help=False,
        conflict_handler="resolve",  # so that the help of a class is ours, which leaves the networks out
    )
    silent: dict[str, Any] = {"action": _Help, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS}
    parser.add_argument("--help", "-h", nargs=0, help="these lines", **silent)
    parser.add_argument("--help_all", action="help", help="the whole text of every option")
    for names, about in START.items():
        parser.add_argument(*names, **about)
    parser.add_class_arguments(MethodsConfig)
    parser.add_class_arguments(Config)
    for key in BASES:
        parser.add_argument(f"--{key}.help", metavar="NAME", help="the options of a class", **silent)
    parser.set_defaults({"data": "Digits"})
    return parser


class _Help(argparse.Action):
    """Prints a line for each option, or the options of the class that is named, and ends the program."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        key = self.option_strings[0][2:].removesuffix(".help")
        print(_class_help(key, values, parser.prog) if key in BASES else overview())
        parser.exit()


def _class_help(key: str, name: str, program: str) -> str:
    known = {cls.__name__: cls for cls in subclasses(BASES[key])}
    cls = known.get(name, object)
    with suppress(ImportError, AttributeError, ValueError):
        cls = class_at(name)
    require(cls in subclasses(BASES[key]), f"{key}.help={name}: no such class{near(name, known)}")
    parser = ArgumentParser(add_help=False, usage=f"{program} --{key} {cls.__name__} [--{key}.OPTION VALUE ...]")
    group = parser.add_argument_group((inspect.getdoc(cls) or cls.__name__).partition("\n")[0].rstrip("."))
    group.add_class_arguments(cls, key, as_group=False, skip=NETWORKS if key == "distiller" else set())
    return parser.format_help().rstrip()


class _Option(NamedTuple):
    """A line of the help: name without dashes, all that is said of it, default and type."""

    name: str
    text: str
    default: Any = None
    kind: Any = None


def overview() -> str:
    """Return a line for each option, at the width of the terminal, under the subject that it belongs to.

    Options are described by their help, up to the first full stop, colon or semicolon.
    """
    width = min(get_terminal_size().columns, _MOST_COLUMNS)
    options = [
        _Option("help", "these lines"),
        _Option("help_all", "the whole text of every option"),
        _Option("print_config", "print the configuration that results, and end"),
        *(_Option(names[0][2:], about["help"], about.get("default")) for names, about in START.items()),
        *_options(MethodsConfig()),
        *_options(Config(data=Digits())),
    ]
    pieces = [f"usage: {program('run')} [--config FILE] [--OPTION VALUE ...]"]
    pieces += ["", "Distil a student and print a table of methods."]
    for subject in _SUBJECTS:
        # The teacher's recipe has the options of the student's.
        own = [each for each in options if _subject(each) == subject and not each.name.startswith("teacher.train.")]
        pieces += ["", f"{subject}:", *(line for each in own for line in _entry(each, width))]
        pieces += [line for text in _NOTES.get(subject, ()) for line in _wrapped(text(), width)]
    pieces += ["", *wrap(_END, width)]
    return "\n".join(pieces)


def _options(owner: Any, prefix: str = "") -> Iterator[_Option]:
    """Return the options that a configuration has, those of its parts included, with what its docstring says."""
    texts: dict[str, str] = {}
    for cls in reversed(type(owner).__mro__):
        listed = inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
        texts |= dict(re.findall(r"^    (\w+): (.*(?:\n {6}.*)*)", listed, re.MULTILINE))
    kinds = get_type_hints(type(owner))
    for each in fields(owner):
        value, name = getattr(owner, each.name), f"{prefix}{each.name}"
        if is_dataclass(kinds[each.name]):
            yield from _options(value, f"{name}.")
        else:
            yield _Option(name, texts[each.name], value, kinds[each.name])


def _subject(option: _Option) -> str:
    start = option.name.partition(".")[0]
    return next(subject for subject, starts in _SUBJECTS.items() if start in starts or "" in starts)


def _entry(option: _Option, width: int) -> list[str]:
    text = _first_words(option.text)
    if get_origin(option.kind) is Literal:
        choices = [str(value) for value in get_args(option.kind)]
        text += "" if all(choice in text for choice in choices) else f": {', '.join(choices)}"
    if option.default not in (None, False, {}):
        text += f" [{_plain(option.default)}]"
    lines = wrap(text, max(width - _COLUMN, 20), break_on_hyphens=False)
    head = f"  --{option.name}"
    if len(head) >= _COLUMN:
        return [head, *(" " * _COLUMN + line for line in lines)]
    return [f"{head if number == 0 else '':<{_COLUMN}}{line}" for number, line in enumerate(lines)]


def _plain(default: Any) -> str:
    if isinstance(default, list):
        return " ".join(map(str, default))
    if isinstance(default, Digits):
        return type(default).__name__
    return "true" if default is True else str(default)


def _first_words(text: str) -> str:
    """Return the help up to its first full stop, colon or semicolon outside of brackets."""
    text = " ".join(text.replace("``", "").replace('"', "").split())
    found = re.search(r"[;:](?= )|\.(?= |$)", re.sub(r"\([^)]*\)|{.*}", lambda inner: "-" * len(inner[0]), text))
    return text[: found.start()] if found else text


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _known(key: str) -> str:
    return f"known: {', '.join(own_names(BASES[key]))}; or a dotted path"


_NOTES = {
    "data": (
        lambda: _known("data"),
        lambda: "its options: --data.help NAME, then --data.OPTION, such as --data.root",
    ),
    "teacher": (lambda: "--teacher.train.OPTION as --train.OPTION, where the teacher is trained first",),
    "method": (
        lambda: _known("distiller"),
        lambda: "their options: --distiller.help NAME, then --distiller NAME --distiller.OPTION",
    ),
}
_END = (
    "Values come from defaults, in brackets, then --recipe, then --config, then the command line. --help_all has the "
    "whole text of every option, and the types of values."
)
