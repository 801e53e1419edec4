"""The options of ``trg run`` grouped by subject, a line or two each."""

import argparse
import re
from collections.abc import Sequence
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ArgumentParser

from trg_pyg._discover import subclasses
from trg_pyg.data.base import ImageData
from trg_pyg.distillers.base import Distiller

# Subject by the beginning of an option's name; the first that fits counts.
_SUBJECTS = {
    "data": ("data",),
    "student": ("student",),
    "teacher": ("teacher",),
    "method": ("methods", "distiller", "method_options", "variants", "reference"),
    "training of the student": ("train",),
    "tracking": ("wandb", "wandb_project"),
    "run": ("",),
}
_COLUMN = 27
_MOST_COLUMNS = 120


class GroupedParser(ArgumentParser):
    """A parser whose ``--help`` is short; ``--help_all`` has every word."""

    short = False

    def format_help(self, *formatter: Any) -> str:
        """Return the help: an overview of the options, where ``short`` is set."""
        return overview(self) if self.short else super().format_help(*formatter)

    def format_full_help(self) -> str:
        """Return the whole text of every option."""
        return super().format_help()


class FullHelp(argparse.Action):
    """Prints the whole text of every option, and ends the program."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Print and exit."""
        print(parser.format_full_help())
        parser.exit()


def overview(parser: ArgumentParser) -> str:
    """Return a line for each option of the parser, at the width of the terminal, under the subject that it belongs to.

    Args:
        parser: whose options are described by their help, up to the first full stop, colon or semicolon.
    """
    width = min(get_terminal_size().columns, _MOST_COLUMNS)
    actions = [action for action in parser._actions if _is_shown(action)]
    pieces = [f"usage: {parser.prog} [--config FILE] [--OPTION VALUE ...]", "", parser.description or ""]
    for subject in _SUBJECTS:
        own = [action for action in actions if _subject(action) == subject]
        pieces += ["", f"{subject}:", *(line for action in own for line in _entry(action, width))]
        pieces += [line for text in _NOTES.get(subject, ()) for line in _wrapped(text(), width)]
    pieces += ["", *wrap(_END, width)]
    return "\n".join(pieces) + "\n"


def _is_shown(action: argparse.Action) -> bool:
    # The teacher's recipe has the options of the student's; groups given as a file are for the whole text.
    if action.dest.startswith("teacher.train") or action.dest in ("student", "teacher", "train"):
        return False
    return action.help != argparse.SUPPRESS and not any(name.endswith(".help") for name in action.option_strings)


def _subject(action: argparse.Action) -> str:
    start = action.dest.partition(".")[0]
    return next(subject for subject, starts in _SUBJECTS.items() if start in starts or "" in starts)


def _entry(action: argparse.Action, width: int) -> list[str]:
    name = next((name for name in action.option_strings if name.startswith("--")), action.option_strings[0])
    default = action.default
    text = _first_words(action.help or "")
    values = getattr(action, "_typehint", None)
    if get_origin(values) is Literal:
        choices = [str(value) for value in get_args(values)]
        text += "" if all(choice in text for choice in choices) else f": {', '.join(choices)}"
    if default not in (None, argparse.SUPPRESS, False, {}):
        text += f" [{_plain(default)}]"
    lines = wrap(text, max(width - _COLUMN, 20), break_on_hyphens=False)
    head = f"  {name}"
    if len(head) >= _COLUMN:
        return [head, *(" " * _COLUMN + line for line in lines)]
    return [f"{head if number == 0 else '':<{_COLUMN}}{line}" for number, line in enumerate(lines)]


def _plain(default: Any) -> str:
    if isinstance(default, list):
        return " ".join(map(str, default))
    return "true" if default is True else str(default)


def _first_words(text: str) -> str:
    """Return the help up to its first full stop, colon or semicolon outside of brackets."""
    text = " ".join(text.replace("``", "").replace('"', "").split())
    found = re.search(r"[;:](?= )|\.(?= |$)", re.sub(r"\([^)]*\)|{.*}", lambda inner: "-" * len(inner[0]), text))
    return text[: found.start()] if found else text


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _known(base: type) -> str:
    return ", ".join(cls.__name__ for cls in subclasses(base) if cls.__module__.startswith("trg_pyg."))


_NOTES = {
    "data": (
        lambda: f"known: {_known(ImageData)}; or the dotted path of your own",
        lambda: "its options: --data.help NAME, then --data.OPTION, such as --data.root",
    ),
    "teacher": (lambda: "--teacher.train.OPTION as --train.OPTION, where the teacher is trained first",),
    "method": (
        lambda: f"known: {_known(Distiller)}; or the dotted path of your own",
        lambda: "their options: --distiller.help NAME, then --distiller NAME --distiller.OPTION",
    ),
}
_END = (
    "Values come from defaults, in brackets, then --config, then the command line. --help_all has the whole text of "
    "every option, and the types of values."
)
