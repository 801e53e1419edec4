"""What pretrained weights say of themselves: the images that they expect, and the network that they are for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torchvision

from trg_pyg.errors import InputError, require

Channels = tuple[float, float, float]

# timm's own names of a place that holds config.json and weights.
HUBS = ("hf-hub:", "local-dir:")
_FILTERS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Pretrained:
    """What weights say of themselves.

    Attributes:
        mean: channel means that they expect, in [0, 1].
        std: channel deviations on the same scale.
        size: height and width of the images that they were trained on, in pixels; ``None`` where they do not say.
        interpolation: bilinear or bicubic, by which these were resized; ``None`` where it is neither or not said.
        args: arguments without which the network is another one.
    """

    mean: Channels
    std: Channels
    size: int | None = None
    interpolation: str | None = None
    args: dict[str, Any] = field(default_factory=dict)


def is_hub(weights: object) -> bool:
    """Return whether weights are named as timm names them: ``hf-hub:NAME`` or ``local-dir:FOLDER``."""
    return str(weights).startswith(HUBS)


def pretrained(
    name: str, args: Mapping[str, Any], weights: str | Path | None, trained_elsewhere: bool
) -> Pretrained | None:
    """Return what the weights of a network say of themselves, ``None`` where there are none or they say nothing.

    Nothing but the description of a model on a hub is downloaded for it.

    Args:
        name: of the network, as :func:`~trg_pyg.models.zoo.build_model` takes it.
        args: further arguments; those that load weights are looked at.
        weights: a file, or a place on a hub.
        trained_elsewhere: whether a file that does not say it expects what those weights do that the library publishes
            for this network.

    Raises:
        InputError: the library has no such weights, a hub can't be read, or what it has is of another network.
    """
    source, _, inner = name.rpartition(":")
    if weights is not None and is_hub(weights):
        return _of_hub(name, str(weights))
    if weights is not None:
        own = _of_file(Path(weights))
        if own is not None or not trained_elsewhere or _is_our_own(Path(weights)):
            return own
    elif not any(args.get(key) for key in ("weights", "pretrained", "checkpoint_path")):
        return None
    if source == "torchvision":
        return _of_torchvision(inner, args, None if weights is None else Path(weights))
    if source == "timm":
        return _of_timm(inner, args)
    return None


def structure(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by which a torchvision network without weights is the same as with those that ``args`` name.

    torchvision changes these arguments by itself where weights are loaded.
    """
    source, _, inner = name.rpartition(":")
    weights = torchvision_weights(inner, args.get("weights")) if source == "torchvision" else None
    return {} if weights is None else _torchvision_args(inner, weights)


def torchvision_weights(inner: str, weights: Any) -> Any:
    """Return the member of torchvision's enumeration that ``weights`` names, ``None`` where it names nothing.

    Raises:
        InputError: torchvision has no such weights of this network.
    """
    if not weights or inner not in torchvision.models.list_models(module=torchvision.models):
        return None
    kind = torchvision.models.get_model_weights(inner)
    try:
        return kind[str(weights).rpartition(".")[2]]
    except KeyError as error:
        known = ", ".join(("DEFAULT", *kind.__members__)) if len(kind) else "it has none"
        raise InputError(f"model 'torchvision:{inner}' has no weights {str(weights)!r}; known: {known}") from error


def _torchvision_args(inner: str, weights: Any) -> dict[str, Any]:
    if inner in ("googlenet", "inception_v3"):
        # Their weights came from TensorFlow. Auxiliary classifiers, which GoogLeNet's have, are taken off.
        return {"transform_input": True, "init_weights": False} | (
            {"aux_logits": False} if inner == "googlenet" else {}
        )
    if inner.startswith("vit_"):
        return {"image_size": weights.meta["min_size"][0]}
    return {"input_size": weights.meta["min_size"]} if inner.startswith("maxvit") else {}


def _of_torchvision(inner: str, args: Mapping[str, Any], file: Path | None) -> Pretrained | None:
    weights = torchvision_weights(inner, args.get("weights") if file is None else "DEFAULT")
    if weights is None:
        return None
    extra: dict[str, Any] = {}
    if file is not None:
        # torchvision's files keep the name that they are downloaded by.
        kind = torchvision.models.get_model_weights(inner)
        weights = next((each for each in kind if each.url.rpartition("/")[2] == file.name), weights)
        extra = _torchvision_args(inner, weights)
        extra.pop("aux_logits", None)  # what a file has, the network must have
    images = weights.transforms()
    return Pretrained(
        _channels(images.mean), _channels(images.std), images.crop_size[0], _filter(images.interpolation.value), extra
    )


def _of_timm(inner: str, args: Mapping[str, Any]) -> Pretrained | None:
    import timm

    architecture = inner.partition(".")[0]
    if not timm.is_model(architecture):
        return None  # said when it is built
    known = timm.get_pretrained_cfg(inner if inner in timm.list_pretrained() else architecture)
    described = {} if known is None else known.to_dict()
    for key in ("pretrained_cfg", "pretrained_cfg_overlay"):
        described |= args[key] if isinstance(args.get(key), Mapping) else {}
    return _of_description(described)


def _of_hub(name: str, weights: str) -> Pretrained | None:
    source, _, inner = name.rpartition(":")
    about = _hub_config(weights)
    described = about.get("pretrained_cfg", about)
    architecture = str(about["architecture"])
    require(
        source == "timm" and inner.partition(".")[0] == architecture,
        f"weights {weights}: they are those of timm:{architecture}, not of {name}; name that network",
    )
    args = dict(about.get("model_args") or {})
    import timm

    usual = timm.get_pretrained_cfg(inner) if timm.is_model(architecture) else None
    size = described.get("input_size")
    if described.get("fixed_input_size") and usual is not None and size and tuple(size) != tuple(usual.input_size):
        args.setdefault("img_size", size[-1])
    found = _of_description(described)
    return None if found is None else Pretrained(found.mean, found.std, found.size, found.interpolation, args)


def _hub_config(weights: str) -> dict[str, Any]:
    source, _, place = weights.partition(":")
    try:
        import timm  # noqa: F401, it brings huggingface_hub

        if source == "local-dir":
            file = Path(place) / "config.json"
        else:
            from huggingface_hub import hf_hub_download

            repository, _, revision = place.partition("@")
            file = Path(hf_hub_download(repository, "config.json", revision=revision or None))
        about = json.loads(file.read_text())
        str(about["architecture"])
        dict(about.get("pretrained_cfg", about))
    except ImportError as error:
        raise InputError(f"weights {weights} need timm; run: pip install 'trg_pyg[timm]'") from error
    except Exception as error:  # of many classes: no connection, no such repository, no JSON
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"weights {weights}: no config.json of timm can be had ({type(error).__name__}: {reason}); check the name "
            "and the connection"
        ) from error
    return dict(about)


def _of_file(file: Path) -> Pretrained | None:
    """Return what a file of weights says, or timm's config.json beside it."""
    about = _metadata(file)
    if "mean" in about and "std" in about:
        try:
            return Pretrained(_channels(json.loads(about["mean"])), _channels(json.loads(about["std"])))
        except (ValueError, TypeError) as error:
            raise InputError(f"weights {file}: mean {about['mean']} or std {about['std']} is no triple") from error
    beside = file.with_name("config.json")
    try:
        described = json.loads(beside.read_text())["pretrained_cfg"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return _of_description(described) if isinstance(described, dict) else None


def _is_our_own(file: Path) -> bool:
    # Written by a training of this package, which kept the data's normalisation before it wrote that down.
    return "epoch" in _metadata(file)


def _metadata(file: Path) -> dict[str, str]:
    if file.suffix.lower() != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except (OSError, safetensors.SafetensorError):
        return {}  # said when the weights are loaded


def _of_description(described: Mapping[str, Any]) -> Pretrained | None:
    """Return what timm's description of weights says."""
    if not (described.get("mean") and described.get("std")):
        return None
    size = described.get("input_size")
    return Pretrained(
        _channels(described["mean"]),
        _channels(described["std"]),
        int(size[-1]) if size else None,
        _filter(described.get("interpolation")),
    )


def _channels(values: Any) -> Channels:
    red, green, blue = map(float, values)
    return red, green, blue


def _filter(name: Any) -> str | None:
    return name if name in _FILTERS else None
