"""What a folder of runs holds: where its trainings stand, and what differs from the runs of an undisturbed one."""

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.metrics import TIMES
from trg_pyg.training.checkpoint import has_checkpoint, load_checkpoint


class Place(NamedTuple):
    """Where a training stands: epochs that are done, and steps of the next one."""

    epochs: int
    step: int


def run_folders(tree: Path) -> list[Path]:
    """Return the folders of runs below ``tree``, relative to it; trained teachers are runs too."""
    return sorted(path.parent.relative_to(tree) for path in tree.rglob("config.yaml"))


def is_teacher(folder: Path) -> bool:
    """Whether a run's folder, relative to the output, is that of a teacher."""
    return folder.parts[0] == "teachers"


def standing(tree: Path) -> tuple[dict[Path, Place], list[str]]:
    """Return where each training below ``tree`` stands by its newest checkpoint, and what is wrong.

    It is wrong where a checkpoint is damaged, where metrics tell of an epoch that the checkpoint does not have, or a
    line of them cannot be read.
    """
    places, wrong = {}, []
    for folder in run_folders(tree):
        if not has_checkpoint(tree / folder / "checkpoint.pt"):
            continue
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                state = load_checkpoint(tree / folder / "checkpoint.pt")
        except InputError as error:
            wrong.append(f"{folder}: {error}")
            continue
        wrong += [f"{folder}: {warning.message}" for warning in said]
        places[folder] = Place(len(state["history"]), state["step"])
        try:
            told = len(_metrics(tree / folder))
        except (OSError, ValueError) as error:
            wrong.append(f"{folder}: metrics.jsonl: {error}")
            continue
        if told > len(state["history"]):
            wrong.append(f"{folder}: metrics of {told} epochs, a checkpoint of {len(state['history'])}")
    return places, wrong


def steps_back(before: dict[Path, Place], after: dict[Path, Place]) -> list[str]:
    """Return which trainings have lost what they had: they are gone, or stand before where they stood."""
    gone = [f"{folder}: stood at {place} and is gone" for folder, place in before.items() if folder not in after]
    return gone + [
        f"{folder}: stood at {place} and stands at {after[folder]}"
        for folder, place in before.items()
        if folder in after and after[folder] < place
    ]


def done_again(printed: str, before: dict[Path, Place]) -> list[str]:
    """Return which epochs a process has trained, by its lines, although a checkpoint had them when it started."""
    had = {is_teacher(folder): place.epochs for folder, place in before.items()}
    lines = re.findall(r"^(.+?)  epoch (\d+)/\d+", printed, flags=re.MULTILINE)
    return [
        f"{title}: epoch {epoch} was done again"
        for title, epoch in lines
        if int(epoch) <= had.get(title.startswith("teacher "), 0)
    ]


def differences(expected: Path, found: Path) -> list[str]:
    """Return every value of finished runs that differs from those of an undisturbed one, or is missing.

    Weights (last and best), all entries of the last checkpoint (weights, optimiser, schedule, method with its memory
    banks, random streams, loader, history) and the metrics of every epoch are compared bit by bit, times left out.
    """
    folders = run_folders(expected)
    if not folders:
        raise ValueError(f"{expected}: no runs to compare with")
    differing = [f"{folder}: not expected" for folder in run_folders(found) if folder not in folders]
    for folder in folders:
        for name, read in _READ.items():
            where = f"{folder}/{name}"
            try:
                here = read(found / folder)
            except (OSError, ValueError) as error:
                differing.append(f"{where}: {error}")
                continue
            differing += [f"{where} {what}" for what in unequal(read(expected / folder), here)]
    return differing


def unequal(expected: Any, found: Any, place: str = "") -> Iterator[str]:
    """Yield the places at which nested values differ in any bit; entries named as times are passed over."""
    if type(expected) is not type(found):
        yield f"{place}: a {type(found).__name__} for a {type(expected).__name__}"
    elif isinstance(expected, dict):
        for name in {**expected, **found}:
            inner = f"{place}.{name}"
            if name in TIMES:
                continue
            if name not in expected or name not in found:
                yield f"{inner}: missing" if name in expected else f"{inner}: not expected"
            else:
                yield from unequal(expected[name], found[name], inner)
    elif isinstance(expected, list | tuple):
        if len(expected) != len(found):
            yield f"{place}: {len(found)} entries for {len(expected)}"
        for number, pair in enumerate(zip(expected, found, strict=False)):
            yield from unequal(*pair, f"{place}[{number}]")
    elif isinstance(expected, Tensor):
        if not _same_bits(expected, found):
            yield f"{place}: another tensor"
    elif repr(expected) != repr(found):  # NaN is itself here, and 0.0 is not -0.0
        yield f"{place}: {found!r} for {expected!r}"


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other)))


def _metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _weights(name: str) -> Any:
    def read(folder: Path) -> dict[str, Any]:
        if not (folder / name).exists():
            raise FileNotFoundError("missing")
        with safe_open(folder / name, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dictionary
            return {"tensors": tensors, "about": file.metadata()}

    return read


_READ = {
    "metrics.jsonl": _metrics,
    "last.safetensors": _weights("last.safetensors"),
    "best.safetensors": _weights("best.safetensors"),
    "checkpoint.pt": lambda folder: load_checkpoint(folder / "checkpoint.pt"),
}
