"""Weights of a network in a file: safetensors to publish, PyTorch's own format to read what others published."""

import hashlib
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from trg_pyg._files import replaced_whole
from trg_pyg.errors import InputError, count, few, require
from trg_pyg.models.reused import restore_projector

_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and its kin; torch.compile
_COMPILED = "_orig_mod."  # of a part that was compiled alone it stands in the middle of a name
_STATE_KEYS = ("model", "state_dict", "model_state_dict")
_SHOWN = 3

# What trainers keep beside weights and what holds data only: RepDistiller its command line as a Namespace, others an
# accuracy as a number of numpy, whose home had another name before numpy 2. No other class is let in.
_SCALAR = np.float64(0).__reduce__()[0]
_DATA: list[Any] = [
    Namespace,
    np.dtype,
    *{type(np.dtype(code)) for code in "?" + np.typecodes["AllInteger"] + np.typecodes["Float"]},
    *((_SCALAR, f"numpy.{home}.multiarray.scalar") for home in ("core", "_core")),
]


@dataclass(frozen=True)
class LoadedWeights:
    """What a file said beside the weights.

    Attributes:
        path: the file.
        sha256: hash of the file, 64 hexadecimal digits.
        accuracy: top-1 accuracy in percent as the file claims it, ``None`` where it does not: metadata ``accuracy`` of
            safetensors; otherwise ``accuracy``, which RepDistiller measures on these weights, or else ``best_acc``.
        metadata: the strings that a safetensors file carries.
        new_head: why the classifier has no weights of the file, see ``head`` of :func:`load_weights`; empty where it
            has.
    """

    path: Path
    sha256: str
    accuracy: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    new_head: str = ""


def load_weights(model: nn.Module, path: str | Path, head: str | None = None) -> LoadedWeights:
    """Load a file into a network; on any error the network is as it was.

    A name that ends in ``.safetensors`` is read as such, anything else by ``torch.load(weights_only=True)``: a state
    dict, or a dict that has one as ``model`` (RepDistiller), ``state_dict`` or ``model_state_dict``, or as the only one
    under another name. What is beside the weights does not matter. Neither do the prefixes of DataParallel and of
    ``torch.compile``, nor any other prefix, as long as the names under one of them are those of the network: a
    Lightning module, an averaged model, or a whole distiller, where that of the network that fits is taken. Counters of
    batch norms that a file lacks, as those of PyTorch before 0.4.1 do, keep their value. A network whose file has a
    projector (:mod:`~trg_pyg.models.reused`) is given one. What a network names as ``unused_weights``, parts of names,
    is passed over.

    Args:
        model: network with the names and shapes of the weights.
        path: the file.
        head: for a network that is trained further, the path of its classifier, empty where it is not known: where the
            file has another number of classes, or no classifier of that path, that of the network starts at zero.

    Raises:
        InputError: the file is missing, damaged, holds code or no state dict; its weights are those of another network
            or of another number of classes; several networks in it fit; its accuracy is no number.
    """
    path = Path(path)
    require(path.is_file(), f"weights {path}: no such file")
    if path.suffix.lower() == ".safetensors":
        state, metadata = _read_safetensors(path)
        claimed: Any = metadata.get("accuracy")
    else:
        state, claimed = _read_torch(path)
        metadata = {}
    accuracy = _accuracy(claimed, path)
    restore_projector(model, state)
    unused = getattr(model, "unused_weights", ())
    state = {name: tensor for name, tensor in state.items() if not any(part in name for part in unused)}
    fitted = _fitted(state, model.state_dict(), path, head)
    model.load_state_dict(fitted.state)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    # Of a whole distiller the accuracy is the student's.
    accuracy = None if fitted.prefix.startswith("teacher.") else accuracy
    return LoadedWeights(path, sha256, accuracy, metadata, fitted.new_head)


def not_finite(model: nn.Module) -> str | None:
    """Return the name of a parameter that is not finite, or of a buffer with NaN; ``None`` where there is none."""
    bad = (name for name, value in model.named_parameters() if not value.isfinite().all())
    return next(bad, next((name for name, value in model.named_buffers() if value.isnan().any()), None))


def digest_of(model: nn.Module) -> str:
    """Return a hash of the names and values of a network's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def take_over(model: nn.Module, state: dict[str, Tensor], head: str, origin: str) -> str:
    """Load weights that a library has read into a network with a head of another width, and return what was left out.

    Args:
        model: the network.
        state: the weights by name.
        head: as that of :func:`load_weights`.
        origin: of the weights, for the message.

    Raises:
        InputError: more than the head differs.
    """
    fitted = _fitted(state, model.state_dict(), origin, head)
    model.load_state_dict(fitted.state)
    return fitted.new_head


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
    program = _program(path)
    require(
        program is None,
        f"weights {path}: a {program} program, which is code and is not read; save its state_dict() where it was made",
    )
    try:
        with torch.serialization.safe_globals(_DATA):
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
    state = _state_of(content, path)
    # Some trainers keep the best accuracy so far beside the weights of a later epoch: the other name is the surer one.
    accuracy = content.get("accuracy")
    return state, content.get("best_acc") if accuracy is None else accuracy


def _program(path: Path) -> str | None:
    """Return what kind of program a file is, by the members of its archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
    except Exception:  # no archive, or a damaged one, which fails in any way too; what reads it next says so
        return None
    known = {"constants.pkl": "TorchScript", "archive_format": "torch.export"}
    return next((kind for member, kind in known.items() if member in members), None)


def _state_of(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict of what a file holds: under a usual name, else the only one, else the content itself."""
    if not isinstance(content, Mapping):
        content, found = {}, type(content).__name__
    else:
        found = str(list(content)[:_SHOWN])
    states = {str(key): state for key, value in content.items() if (state := _tensors(value))}
    for key in _STATE_KEYS:
        if key in states:
            return states[key]
    own = _tensors(content)
    # An accuracy or a step may be a tensor beside the weights.
    if states and len(own) < max(map(len, states.values())):
        require(
            len(states) == 1,
            f"weights {path}: several state dicts, under {few(list(states))}, and none under {', '.join(_STATE_KEYS)}; "
            "save the one that is meant alone",
        )
        return next(iter(states.values()))
    require(
        bool(own),
        f"weights {path}: no state dict, bare or under {', '.join(_STATE_KEYS)} or else; found {found}",
    )
    return own


def _tensors(value: Any) -> dict[str, Tensor]:
    """Return the tensors of a mapping by name; what is beside them, such as an epoch, is no weight."""
    if not isinstance(value, Mapping):
        return {}
    return {name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)}


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


class _Fitted(NamedTuple):
    """Weights under a network's names.

    Attributes:
        state: checked to load without an error.
        prefix: of their names in the file.
        new_head: what was left out of them; empty for nothing.
    """

    state: dict[str, Tensor]
    prefix: str
    new_head: str


def _fitted(state: dict[str, Tensor], own: dict[str, Tensor], origin: object, head: str | None) -> _Fitted:
    """Return the weights under the network's names, of the one prefix under which they are those of the network."""
    skip = len(_wrapper(own))
    names = {name[skip:].replace(_COMPILED, ""): name for name in own}
    plain = {name: own[names[name]] for name in names}
    state = {name.replace(_COMPILED, ""): tensor for name, tensor in state.items()}
    found, problems = [], []
    for prefix in _prefixes(state, plain):
        under = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
        kept = {name: value for name, value in plain.items() if name.endswith("num_batches_tracked")}
        kept |= _kept_head(under, plain, head)
        new = [name for name in kept if not name.endswith("num_batches_tracked")]
        differs, text = _difference(kept | {name: value for name, value in under.items() if name not in new}, plain)
        if differs:
            problems.append((differs, len(prefix), text + (f"; all under {prefix!r}" if prefix else "")))
            continue
        fitted = {names[name]: value for name, value in (kept | under).items()}
        fitted |= {names[name]: _started(name, kept[name]) for name in new}
        found.append(_Fitted(fitted, prefix, _new_head(under, plain, new)))
    if not found:
        raise InputError(f"weights {origin}: {min(problems)[2]}")
    require(
        len(found) == 1,
        f"weights {origin}: several networks in it fit, under {few([repr(each.prefix) for each in found])}; save the "
        "one that is meant alone",
    )
    return found[0]


def _prefixes(state: Iterable[str], own: Mapping[str, Tensor]) -> list[str]:
    """Return the beginnings of names, the empty one first, behind which a name of the network stands."""
    found = {""}
    for name in state:
        parts = name.split(".")
        found |= {".".join([*parts[:at], ""]) for at in range(1, len(parts)) if ".".join(parts[at:]) in own}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def _kept_head(state: dict[str, Tensor], own: dict[str, Tensor], head: str | None) -> dict[str, Tensor]:
    """Return the network's own tensors that stand in for those of a file with another head."""
    if head is None:
        return {}
    of_head = [name for name in own if head and name.startswith(f"{head}.")]
    other = [name for name in own if name in state and state[name].shape != own[name].shape]
    lacks = [name for name in of_head if name not in state]
    # Auxiliary classifiers and a second head have the other number of classes as well.
    classes = _classes(state, own, other) is not None and (not head or bool(set(other) & set(of_head)))
    return {name: own[name] for name in [*(other if classes else []), *(lacks if lacks == of_head else [])]}


def _started(name: str, own: Tensor) -> Tensor:
    """Return what a tensor of a new head begins with: zero, so that no class is likelier (as in BiT, 2020).

    Heads at random, those of timm's EfficientNets above all, take a fine-tuning's first epochs to be forgotten.
    """
    return torch.zeros_like(own) if name.rpartition(".")[2] in ("weight", "bias") else own


def _new_head(state: dict[str, Tensor], own: dict[str, Tensor], new: list[str]) -> str:
    if not new:
        return ""
    classes = _classes(state, own, [name for name in new if name in state])
    why = "the file has no classifier" if classes is None else f"{count(classes[0], 'class')} there, {classes[1]} here"
    return f"{few(new, _SHOWN)} from zero ({why})"


def _difference(state: dict[str, Tensor], own: dict[str, Tensor]) -> tuple[int, str]:
    """Return how many names differ, and what to say of them."""
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own]
    other = [name for name in own if name in state and state[name].shape != own[name].shape]
    differs = len(missing) + len(extra) + len(other)
    if other and not (missing or extra) and (classes := _classes(state, own, other)):
        return differs, (
            f"weights have {classes[0]} classes, data have {classes[1]} ({other[0]}); take weights that were trained "
            f"on these data, or train the network further, with a new head (a teacher by teacher.trained=false)"
        )
    shapes = [f"{name} {list(state[name].shape)} for {list(own[name].shape)}" for name in other]
    parts = [("lacks", missing), ("has besides", extra), ("other shapes", shapes)]
    listed = [f"{title} {few(names, _SHOWN)}" for title, names in parts if names]
    return differs, f"the file is of another network: {'; '.join(listed)}"


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
