"""How a command ends."""

import os
import re
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import trg_pyg
from trg_pyg._program import program
from trg_pyg.errors import InputError, near

# That of sysexits.h for what works when it is tried again.
STOPPED = 75
# As a shell reports a program that was ended since nobody reads on: 128 and the number of SIGPIPE.
_UNREAD = 141


class CommandParser(ArgumentParser):
    """A parser of a command that takes options by their whole names, and raises what is wrong in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise :class:`InputError` with the nearest right thing."""
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        line = f"{message}; --help shows what can be chosen"
        if unknown := re.search(r"unrecognized arguments: (-\S+)", message):
            option = unknown[1].partition("=")[0]
            line = f"unknown option {option}{near(option, known)}"
        elif choice := re.search(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", message):
            names = choice[3].replace("'", "")
            line = f"{choice[1]} {choice[2]}: choose {names}{near(choice[2], names.split(', '), otherwise='')}"
        elif kind := re.search(r"argument (\S+): invalid (\w+) value: '(.*)'", message):
            line = f"{kind[1]} {kind[3]}: expected {kind[2]}"
        elif lacking := re.search(r"argument (\S+): expected (.*)", message):
            line = f"{lacking[1]}: {lacking[2]} expected; --help describes it"
        raise InputError(line)


def exit_code_of(work: Callable[[], None], command: str) -> int:
    """Do the work of a command and return its exit code, after one line on standard error where it is not 0.

    A warning of this project is one line too; those of others say where in the program they come from.

    0: finished; 1: a training diverged; 2: the input is at fault, or a process that decodes images was killed; 75:
    stopped by a signal, saved, ready to be resumed; 141, without a line: whoever reads has enough, as head has.

    Args:
        work: what it does.
        command: its name, such as ``"run"``, or that of a script; the line begins with what the reader has typed.
    """
    named = command if command.endswith(".py") else program(command).removeprefix("python experiments/")
    try:
        with _short_warnings(named):
            work()
    except InputError as error:
        print(f"{named}: error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread():
            return _UNREAD
        ending = _of_training(error)
        if ending is None:
            raise
        code, line = ending
        print(f"{named}: {line}", file=sys.stderr)
        return code
    return 0


def _unread() -> bool:
    """Whether it is standard output that nobody reads; if so, what is left of it does not fail once more at the end."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _of_training(error: Exception) -> tuple[int, str] | None:
    """Return exit code and line of an error that ends a training as it should; nothing for others."""
    # Here, since PyTorch takes seconds to import, and not every command needs it.
    from trg_pyg.data.loading.lost_worker import worker_lost
    from trg_pyg.training.guard import TrainingDiverged
    from trg_pyg.training.stop import TrainingStopped

    if isinstance(error, TrainingStopped):
        return STOPPED, str(error)
    if isinstance(error, TrainingDiverged):
        return 1, f"stopped: {error}"
    # PyTorch raises the news of a killed worker wherever the program happens to be.
    lost = worker_lost(error) if isinstance(error, RuntimeError) else None
    return None if lost is None else (2, f"error: {lost}")


@contextmanager
def _short_warnings(named: str) -> Iterator[None]:
    """Write what this project warns of without the place in the program, which tells a person nothing."""
    ours = Path(trg_pyg.__file__).parent
    long = warnings.formatwarning

    def short(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category is UserWarning and Path(filename).is_relative_to(ours):
            return f"{named}: warning: {message}\n"
        return long(message, category, filename, lineno, line)

    warnings.formatwarning = short
    try:
        yield
    finally:
        warnings.formatwarning = long
