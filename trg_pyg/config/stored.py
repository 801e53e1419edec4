"""Parts of the configuration that a run has kept, each read alone: where a key was renamed, the others are read."""

from argparse import ArgumentError
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from trg_pyg.config.messages import one_line
from trg_pyg.config.schema import NetworkConfig
from trg_pyg.config.strict import Parser
from trg_pyg.errors import InputError

_Network = TypeVar("_Network", bound=NetworkConfig)


def read_part(kind: Any, name: str, stored: Any, place: object) -> Any:
    """Return a part of a stored configuration as the object that it describes.

    Args:
        kind: type of the part, as the schema has it.
        name: of the part.
        stored: its plain values.
        place: file that they are from, for the message.

    Raises:
        InputError: a key is unknown, or a value impossible.
    """
    parser = Parser()
    parser.add_argument(f"--{name}", type=kind)
    try:
        return getattr(parser.instantiate(parser.parse_object({name: stored})), name)
    except ArgumentError as error:
        raise InputError(f"{place}: {one_line(str(error), parser)}") from error


def read_network(kind: type[_Network], name: str, stored: Mapping[str, Any], place: object) -> _Network:
    """Return the student or the teacher of a stored configuration, without the recipe of its training.

    Keys that are not known any more are passed over where they were not set.

    Args:
        kind: the configuration to make.
        name: student or teacher.
        stored: its plain values.
        place: file that they are from, for the message.

    Raises:
        InputError: a value is impossible, or belongs to no key.
    """
    known = {each.name for each in fields(kind)}
    kept = {key: value for key, value in stored.items() if key != "train" and (key in known or value not in (None, {}))}
    network: _Network = read_part(kind, name, kept, place)
    return network
