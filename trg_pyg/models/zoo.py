"""Networks by name, for configurations."""

import importlib
import inspect
import os
import pickle
import re
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torchvision
from torch import nn

from trg_pyg.errors import InputError, count, near, require
from trg_pyg.models.pretrained import is_hub, structure, torchvision_weights
from trg_pyg.models.weights import take_over


def build_model(name: str, num_classes: int, *, image_channels: int = 3, **args: Any) -> nn.Module:
    """Build a network by name.

    Weights that a library loads are those of its own number of classes. Where ``num_classes`` is another one, the head
    starts anew, and the network says so: its ``new_head``, a string, is not empty.

    Args:
        name: one of

            * a function of this package that returns a network, such as ``resnet20``;
            * ``torchvision:NAME``, a classifier of images or clips, without weights unless ``weights`` is given;
            * ``timm:NAME``, one of timm, without weights unless ``pretrained`` is given, or ``timm:hf-hub:NAME`` or
              ``timm:local-dir:FOLDER``, with the weights there; of neither is a weights file read that would run code;
            * the dotted path of any callable that returns a network, such as ``my_package.nets.MyNet``.
        num_classes: width of the logits, passed to the callable as ``num_classes``.
        image_channels: of the images. A network of this package or of torchvision has a first convolution of as many,
            timm is told of them, and a callable of a dotted path knows for itself.
        **args: further keyword arguments of the callable.

    Raises:
        InputError: nothing has that name, timm is needed and not installed, an argument is unknown or missing, the
            callable returns no network, or its weights can't be had or hold code.
    """
    if num_classes < 1:
        raise InputError(f"model {name}: num_classes {num_classes} must be 1 or more")
    source, _, inner = name.partition(":") if name.startswith("timm:") else name.rpartition(":")
    if source == "torchvision":
        return _of_channels(_build_torchvision(name, inner, {"num_classes": num_classes, **args}), image_channels, args)
    if source == "timm":
        told = {} if image_channels == 3 else {"in_chans": image_channels}
        return _build_timm(name, inner, {"num_classes": num_classes, **told, **args})
    if source:
        raise InputError(f"model {name!r}: no source {source!r}; known: timm, torchvision")
    if "." in name:
        return _call(name, _import(name), {"num_classes": num_classes, **args})
    return _of_channels(_call(name, _find(name), {"num_classes": num_classes, **args}), image_channels, args)


def _of_channels(model: nn.Module, channels: int, args: dict[str, Any]) -> nn.Module:
    """Give a network a first convolution of other than three channels, its weights of the same deviation."""
    if channels == 3:
        return model
    require(
        args.get("weights") is None,
        f"weights {args.get('weights')} are of images with 3 channels, not {channels}: leave them out",
    )
    path, first = next((path, each) for path, each in model.named_modules() if isinstance(each, nn.Conv2d))
    options = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    same = {name: getattr(first, name) for name in options}
    other = nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **same)
    nn.init.normal_(other.weight, std=first.weight.std().item())
    model.set_submodule(path, other)
    return model


def _zoo() -> dict[str, Callable[..., nn.Module]]:
    # A function of this package that takes classes and promises a network is a model: there is no list of them.
    package = importlib.import_module("trg_pyg.models")
    functions = {key: value for key, value in vars(package).items() if inspect.isfunction(value)}
    return {key: value for key, value in functions.items() if key in package.__all__ and _builds_network(value)}


def _builds_network(function: Callable[..., Any]) -> bool:
    result = _result_class(function)
    takes_classes = next(iter(inspect.signature(function).parameters), "") == "num_classes"
    return takes_classes and result is not None and issubclass(result, nn.Module)


def _result_class(function: Callable[..., Any]) -> type | None:
    """Return the class that calling ``function`` gives, as far as it says so."""
    if inspect.isclass(function):
        return function
    try:
        result = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None
    return result if inspect.isclass(result) else None


def _find(name: str) -> Callable[..., nn.Module]:
    zoo = _zoo()
    if name not in zoo:
        raise InputError(
            f"model {name!r} is unknown{near(name, zoo)}; or torchvision:NAME, timm:NAME, package.module.Callable"
        )
    return zoo[name]


def _import(name: str) -> Callable[..., Any]:
    path, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(path)
    except (ImportError, TypeError, ValueError) as error:
        raise InputError(f"model {name!r}: can't import {path!r}: {error}") from error
    if not callable(getattr(module, attribute, None)):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = near(attribute, known, "")
        raise InputError(f"model {name!r}: {path} has no callable {attribute!r}{hint}")
    return getattr(module, attribute)


def _build_torchvision(name: str, inner: str, args: dict[str, Any]) -> nn.Module:
    modules = torchvision.models, torchvision.models.video
    known = [each for module in modules for each in torchvision.models.list_models(module=module)]
    if inner not in known:
        hint = near(inner, known, "; torchvision.models.list_models() lists them")
        raise InputError(f"model {name!r} is unknown to torchvision {torchvision.__version__}{hint}")
    builder, weights = torchvision.models.get_model_builder(inner), torchvision_weights(inner, args.get("weights"))
    if weights is None or args["num_classes"] == len(weights.meta["categories"]):
        with _weights_only():
            model = _call(name, builder, args)
    else:
        # torchvision builds a network with weights for their classes only; everything but the head goes into another.
        with _weights_only():
            whole = _call(name, builder, {key: value for key, value in args.items() if key != "num_classes"})
        model = _call(name, builder, structure(name, args) | {key: args[key] for key in args if key != "weights"})
        model.new_head = take_over(model, whole.state_dict(), "", name)  # type: ignore[assignment]
    if isinstance(model, torchvision.models.VisionTransformer):
        model.num_prefix_tokens = 1
    if isinstance(model, torchvision.models.video.VideoResNet):
        # What takes clips is not looked into.
        model.default_taps, model.classifier_path = ("layer1", "layer2", "layer3", "layer4"), "fc"
    return model


def _build_timm(name: str, inner: str, args: dict[str, Any]) -> nn.Module:
    timm = _timm(name)
    if is_hub(inner):
        with _weights_only():
            return _headed(_call(name, lambda **kwargs: timm.create_model(inner, pretrained=True, **kwargs), args))
    architecture, _, tag = inner.partition(".")
    if not timm.is_model(architecture):
        hint = near(architecture, timm.list_models(), "; timm.list_models() lists them")
        raise InputError(f"model {name!r} is unknown to timm {timm.__version__}{hint}")
    if tag and inner not in timm.list_pretrained():
        tags = [known for known in timm.list_pretrained() if known.startswith(f"{architecture}.")]
        raise InputError(f"model {name!r}: timm has no such weights{near(inner, tags)}")
    builder = timm.model_entrypoint(architecture)
    with _weights_only():
        model = _call(name, lambda **kwargs: timm.create_model(inner, **kwargs), args, described_by=builder)
    return _headed(model) if args.get("pretrained") else model


def _headed(model: nn.Module) -> nn.Module:
    # timm gives a network a new head without a word where the number of classes is another one.
    about: Any = getattr(model, "pretrained_cfg", {})
    theirs, ours = about.get("num_classes"), getattr(model, "num_classes", None)
    if theirs is not None and theirs != ours:
        named = about.get("classifier")
        heads = [named] if isinstance(named, str) else list(named or ())
        for head in map(model.get_submodule, heads):
            if isinstance(head, (nn.Linear, nn.Conv2d)):
                for parameter in head.parameters():
                    nn.init.zeros_(parameter)  # as load_weights does
        model.new_head = f"{', '.join(heads)} from zero ({count(theirs, 'class')} there, {ours} here)"  # type: ignore
    return model


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let PyTorch read no file that would run code, whatever a library asks for: torchvision asks for anything."""
    force, never = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (force, never)}
    os.environ[force] = "1"
    try:
        yield
    finally:
        del os.environ[force]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _timm(name: str) -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise InputError(f"model {name!r} needs timm; run: pip install 'trg_pyg[timm]'") from error


def _call(
    name: str, function: Callable[..., Any], args: dict[str, Any], described_by: Callable[..., Any] | None = None
) -> nn.Module:
    described = described_by or function
    try:
        inspect.signature(described).bind(**args)
    except TypeError as error:
        raise InputError(f"model {name!r}: {error}; accepted: {_accepted(described)}") from error
    try:
        model = function(**args)
    except TypeError as error:
        # A builder with **kwargs hands them on: the class behind it refuses. Any other TypeError is a bug to be seen.
        refused = re.search(r"(?:unexpected keyword argument|multiple values for.* argument) '(\w+)'", str(error))
        if refused is None or refused[1] not in args:
            raise
        raise InputError(
            f"model {name!r} takes no argument {refused[1]!r}; accepted: {_accepted(described)}"
        ) from error
    except ValueError as error:
        raise InputError(f"model {name!r}: {error}") from error
    except (pickle.UnpicklingError, RuntimeError) as error:
        if args.get("checkpoint_path") and "loading state_dict" in str(error):
            raise InputError(
                f"model {name!r}: checkpoint_path={args['checkpoint_path']} is of another network or of other classes; "
                "give it as the weights of the student or the teacher, which may have another head"
            ) from error
        # timm makes the one the other; PyTorch says only so of a download whose hash is not that of its name.
        if not isinstance(error.__cause__ or error, pickle.UnpicklingError) and "invalid hash" not in str(error):
            raise
        reason = (
            "its hash is not the published one" if "invalid hash" in str(error) else "it would run code or is damaged"
        )
        raise InputError(
            f"model {name!r}: its weights file was not read, since {reason}; delete the file to download it again, or "
            "give another one"
        ) from error
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"model {name!r}: its weights can't be had: {reason}; check the connection") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model {name!r} gives a {type(model).__name__}, not an nn.Module")
    return model


def _accepted(function: Callable[..., Any]) -> str:
    """Return the keyword arguments of a callable and, if it hands others on, those of the class that it builds."""
    parameters = list(inspect.signature(function).parameters.values())
    result = _result_class(function)
    if result is not None and result is not function and any(p.kind is p.VAR_KEYWORD for p in parameters):
        parameters += inspect.signature(result).parameters.values()
    named = (p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return ", ".join(dict.fromkeys(named))
