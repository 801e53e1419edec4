"""Weights of a network in a file: safetensors to publish, PyTorch's own format to read what others published."""

import hashlib
import pickle
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from trg_pyg._files import replaced_whole
from trg_pyg.errors import InputError, few

_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and its kin; torch.compile
_STATE_KEYS = ("model", "state_dict", "model_state_dict")
_SHOWN = 3


@dataclass(frozen=True)
class LoadedWeights:
    """What a file said beside the weights.

    Attributes:
        path: the file.
        sha256: hash of the file, 64 hexadecimal digits.
        accuracy: top-1 accuracy in percent as the file claims it, ``None`` where it does not: metadata ``accuracy`` of
            safetensors; otherwise ``accuracy``, which RepDistiller measures on these weights, or else ``best_acc``.
        metadata: the strings that a safetensors file carries.
    """

    path: Path
    sha256: str
    accuracy: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def load_weights(model: nn.Module, path: str | Path) -> LoadedWeights:
    """Load a file into a network; on any error the network is as it was.

    A name that ends in ``.safetensors`` is read as such, anything else by ``torch.load(weights_only=True)``: a state
    dict, or a dict that has one as ``model`` (RepDistiller), ``state_dict`` or ``model_state_dict``. The prefixes of
    DataParallel and of ``torch.compile`` do not matter. Counters of batch norms that a file lacks, as those of PyTorch
    before 0.4.1 do, keep their value.

    Args:
        model: network with the names and shapes of the weights.
        path: the file.

    Raises:
        InputError: the file is missing, damaged, holds code or no state dict; its weights are those of another network
            or of another number of classes; its accuracy is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights {path}: no such file")
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
        claimed: Any = metadata.get("accuracy")
    else:
        state, claimed = _read_torch(path)
        metadata = {}
    accuracy = _accuracy(claimed, path)
    state = _fitted(state, model.state_dict(), path)
    model.load_state_dict(state)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return LoadedWeights(path, sha256, accuracy, metadata)


def save_weights(model: nn.Module, path: str | Path, metadata: dict[str, str]) -> None:
    """Write the state dict of a network as safetensors; a reader sees the old file or the whole new one.

    Args:
        model: the network; prefixes of DataParallel and of ``torch.compile`` are left out of the names.
        path: file that ends in ``.safetensors``; missing folders are made.
        metadata: strings to be stored beside the weights, such as ``{"accuracy": "66.74"}``, in percent.

    Raises:
        InputError: the name ends in something else, or the metadata are not strings.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"weights {path}: the name must end in .safetensors")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(f"weights {path}: metadata {key!r}: {value!r} must be strings")
    own = model.state_dict()
    skip = len(_wrapper(own))
    # safetensors refuses tensors that share memory, as tied weights do
    tensors = {name[skip:]: tensor.detach().cpu().clone().contiguous() for name, tensor in own.items()}
    with replaced_whole(path) as temporary:
        # Not by save_file, whose error on a full disk is none of the operating system's.
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise InputError(f"weights {path}: damaged or no safetensors file: {_line(error)}") from error


def _read_torch(path: Path) -> tuple[dict[str, Tensor], Any]:
    try:
        # RepDistiller stores its command line as a Namespace, which holds data only; no other class is let in.
        with torch.serialization.safe_globals([Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"weights {path}: refused, since it asks to run {code[1]} or is damaged; save the bare state dict"
            ) from error
        # What PyTorch says before that is advice to read the file unsafely.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise InputError(f"weights {path}: damaged or no PyTorch file: {_line(reason)}") from error
    except Exception as error:  # a damaged file makes the reader fail in any way, OSError and KeyError among them
        reason = _line(error) or type(error).__name__
        raise InputError(f"weights {path}: damaged or no PyTorch file: {reason}") from error
    state = content
    if isinstance(content, Mapping):
        state = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), Mapping)), content)
    if not _is_state(state):
        found = list(content)[:_SHOWN] if isinstance(content, Mapping) else type(content).__name__
        raise InputError(f"weights {path}: no state dict, bare or under {', '.join(_STATE_KEYS)}; found {found}")
    # Some trainers keep the best accuracy so far beside the weights of a later epoch: the other name is the surer one.
    accuracy = content.get("accuracy")
    return dict(state), content.get("best_acc") if accuracy is None else accuracy


def _is_state(state: Any) -> bool:
    return (
        isinstance(state, Mapping)
        and len(state) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items())
    )


def _accuracy(claimed: Any, path: Path) -> float | None:
    try:
        return None if claimed is None else float(claimed)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"weights {path}: accuracy {_line(claimed)!r} is no number") from error


def _wrapper(names: Iterable[str]) -> str:
    """Return the longest chain of wrapper prefixes that every name begins with."""
    names = list(names)
    prefix = ""
    while longer := [w for w in _WRAPPERS if names and all(name.startswith(prefix + w) for name in names)]:
        prefix += longer[0]
    return prefix


def _fitted(state: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the weights under the network's names, checked to load without an error."""
    skip, prefix = len(_wrapper(state)), _wrapper(own)
    fitted = {prefix + name[skip:]: tensor for name, tensor in state.items()}
    counters = {name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")}
    fitted = counters | fitted
    if problem := _difference(fitted, own):
        raise InputError(f"weights {path}: {problem}")
    return fitted


def _difference(state: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own]
    other = [name for name in own if name in state and state[name].shape != own[name].shape]
    if not (missing or extra or other):
        return ""
    if not (missing or extra) and (classes := _classes(state, own, other)):
        return (
            f"weights have {classes[0]} classes, data have {classes[1]} ({other[0]}); take weights that were trained "
            f"on these data"
        )
    shapes = [f"{name} {list(state[name].shape)} for {list(own[name].shape)}" for name in other]
    parts = [("lacks", missing), ("has besides", extra), ("other shapes", shapes)]
    listed = [f"{title} {few(names, _SHOWN)}" for title, names in parts if names]
    return f"the file is of another network: {'; '.join(listed)}"


def _classes(state: dict[str, Tensor], own: dict[str, Tensor], other: list[str]) -> tuple[int, int] | None:
    """Return the two numbers of classes if nothing but the length of the classifier's tensors differs."""
    pairs = set()
    for name in other:
        theirs, ours = state[name].shape, own[name].shape
        if not theirs or not ours or theirs[1:] != ours[1:]:
            return None
        pairs.add((theirs[0], ours[0]))
    return pairs.pop() if len(pairs) == 1 else None


def _line(thing: object) -> str:
    return " ".join(str(thing).split())[:200]
