"""Features of any network, by module path, without an edit to the network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from trg_pyg._size import sides, size_of
from trg_pyg.batch import Inputs, mask_of
from trg_pyg.errors import InputError, count, few, near, require
from trg_pyg.models._probe import (
    PROBE_BATCH,
    Example,
    Look,
    call,
    first_tensor,
    grid_of,
    inputs_like,
    is_channels_last,
    undisturbed,
)
from trg_pyg.models.normalize import Normalize
from trg_pyg.models.reused import Projected


class Outputs(NamedTuple):
    """What one network gives for a batch of B images.

    Attributes:
        logits: ``[B, classes]``; of a network that answers for each pixel, ``[B, channels, H, W]``, for each of
            A anchors, ``[B, channels, A]``.
        features: one tensor per tap, in the order of the taps, as the tapped module returned it.
        embedding: ``[B, d]``, what the classifier takes; ``None`` where none is known or the call did not reach it.
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    embedding: Tensor | None = None

    def in_float32(self) -> "Outputs":
        """Return the same in float32, which losses need: no projection mixes other features with its weights."""
        return self._to(torch.float32)

    def in_float16(self) -> "Outputs":
        """Return the same rounded to float16."""
        return self._to(torch.float16)

    def _to(self, dtype: torch.dtype) -> "Outputs":
        embedding = None if self.embedding is None else self.embedding.to(dtype)
        return Outputs(self.logits.to(dtype), tuple(feature.to(dtype) for feature in self.features), embedding)


@dataclass(frozen=True)
class FeatureInfo:
    """Shape of one tapped feature for a single image or clip, known before any training.

    Attributes:
        path: module path of the tap, such as ``"layer3"``.
        layout: ``"map"`` for ``[B, C, H, W]``, ``"map_last"`` for ``[B, H, W, C]``, ``"sequence"`` for
            ``[B, prefix + H * W, C]``, ``"volume"`` for ``[B, C, T, H, W]``.
        channels: C, the width of a feature vector.
        grid: ``(H, W)``; of a text one row of tokens; of a volume ``(T, H, W)``, cells in time and place.
        prefix_tokens: class, distillation and register tokens at the head of a sequence.
    """

    path: str
    layout: Literal["map", "map_last", "sequence", "volume"]
    channels: int
    grid: tuple[int, ...]
    prefix_tokens: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the feature of one image, as the layout has it."""
        return {
            "map": (self.channels, *self.grid),
            "map_last": (*self.grid, self.channels),
            "sequence": (self.prefix_tokens + math.prod(self.grid), self.channels),
            "volume": (self.channels, *self.grid),
        }[self.layout]


@dataclass(frozen=True)
class NetworkInfo:
    """What a distiller needs to know of a network when it is built.

    Attributes:
        num_classes: width of the logits.
        features: one per tap, in the order of the taps.
        embedding: d, the width of what the classifier takes; ``None`` where none is known.
        pixels: height and width of the logits, of a network that answers for each pixel; how many anchors, ``(A,)``,
            of one that answers for these; else empty.
    """

    num_classes: int
    features: tuple[FeatureInfo, ...]
    embedding: int | None = None
    pixels: tuple[int, ...] = ()


class TappedModel(nn.Module):
    """Any network, with its logits, the outputs of some of its modules and what its classifier takes, in one call.

    The network is not edited: hooks read the tapped modules and the classifier. They stay silent when the network is
    called directly. A tapped module that gives a tuple stands for the first tensor in it, one that is called several
    times for its last call.

    What a network does not declare is looked for once, by :meth:`describe` or the first call, with two black images of
    that size. A network may declare

    * ``default_taps``, module paths from shallow to deep;
    * ``classifier_path``, the module that takes the embedding ``[B, d]``. Without it, the classifier is the linear
      layer whose output is the logits, or the layer that gives class scores at each place, of which the logits are the
      mean or maximum: the embedding is the mean of what it takes. Where something follows it, it is the last one behind
      the last map that takes ``[B, d]`` and is as wide as the logits, the first of several beside one another;
    * ``num_prefix_tokens``.

    Of a network that takes other inputs than images, clips too, nothing is looked for: taps have to be named or
    declared. Features
    of padding (``attention_mask`` 0) are 0, so that nothing that is compared depends on it.

    Args:
        model: the network; takes normalised images ``[B, C, H, W]``, or several tensors ``[B, ...]`` by their names,
            and returns logits ``[B, classes]``, or of each pixel ``[B, channels, H, W]``, or of each anchor
            ``[B, channels, A]``, or a tuple that begins with them.
        taps: module paths as in ``model.named_modules()``, in the order of the features; may be empty. Or

            * ``"last"``, as ``None``: the last of ``default_taps``. Without them, the last module to finish whose
              output has a spatial grid larger than 1x1 (``[B, C, H, W]``, ``[B, H, W, C]`` or a sequence
              ``[B, N, C]``), class scores and auxiliary heads left aside;
            * ``"stages"``: ``default_taps``. Without them, the last module to finish for each size of the grid, of at
              most the last four sizes; in a network with one size, the last block of each quarter of its longest row
              of blocks. The last tap is that of ``"last"``.
        normalize: applied to the images, in [0, 1], before the network.
        prefix_tokens: class, distillation and register tokens at the head of a sequence; ``None`` takes the network's
            ``num_prefix_tokens``, or 0.

    Shapes:
        images ``[B, C, H, W]``, or clips ``[B, C, T, H, W]``, uint8 or float in [0, 1] -> :class:`Outputs`; C is 3
        unless ``normalize`` or :meth:`describe` has it otherwise. Or what it was described with.

    Raises:
        InputError: a tap or the declared classifier is no module of the network, or a tap, in a call, is not reached or
            gives no tensor; the images have another shape or type; the logits are no tensor; no tap was found.
    """

    def __init__(
        self,
        model: nn.Module,
        taps: Sequence[str] | Literal["last", "stages"] | None = None,
        normalize: nn.Module | None = None,
        prefix_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.normalize = normalize
        self.prefix_tokens: int = getattr(model, "num_prefix_tokens", 0) if prefix_tokens is None else prefix_tokens
        self.taps: tuple[str, ...] | None = None
        self.classifier: str | None = None
        self._classifier_known = False
        self._example: Example | None = None
        self.channels = len(normalize.mean) if isinstance(normalize, Normalize) else 3
        self._stages = taps == "stages"
        self._readers: list[_Reader] = []
        self._embedding = _InputReader()
        # Kept because a handle that is unpickled reserves its id: a hook added in the new process can't replace ours.
        self._handles: list[Any] = []
        if isinstance(taps, str) and taps not in ("last", "stages"):
            raise InputError(f"taps {taps!r} must be a list of module paths: [{taps!r}], or last, or stages")
        if taps is None or isinstance(taps, str):
            declared = tuple(getattr(model, "default_taps", ()))
            taps = (declared if self._stages else declared[-1:]) or None
        if taps is not None:
            self._tap(taps)
        if getattr(model, "classifier_path", None) is not None:
            self._read_classifier(str(model.classifier_path))

    def forward(self, images: Inputs) -> Outputs:
        """Return the logits and the tapped outputs of images ``[B, C, H, W]``, uint8 or float in [0, 1], or others."""
        self._check(images)
        self.find(images)
        readers: list[_Reader | _InputReader] = [*self._readers, self._embedding]
        for reader in readers:
            reader.reading = True
        try:
            logits = first_tensor(call(self.model, self._prepare(images)))
            *outputs, embedding = (reader.output for reader in readers)
        finally:
            for reader in readers:
                reader.reading = False
                reader.output = None
        return self._checked(logits, outputs, embedding, mask_of(images))

    def describe(self, example: Example, channels: int | None = None) -> NetworkInfo:
        """Return what a distiller needs to know of the network, from a look at two black images or other inputs.

        The look leaves no trace: evaluation mode without gradients, then the modes and random states as before.

        Args:
            example: side of square images, or height and width; of other inputs an item, a tensor ``[1, ...]`` or
                several by name, without padding. The look is at two of it.
            channels: of the images; ``None`` takes as many as ``normalize`` has, or 3.

        Raises:
            InputError: the network can't take such inputs; a tap has no spatial grid, or is a sequence that is not the
                prefix tokens followed by others that make a grid of the images' shape; the logits are neither
                ``[B, classes]`` nor ``[B, channels, anchors]`` nor a map of the images' size; the declared classifier
                does not take ``[B, d]``; ``normalize`` has other channels.
        """
        if channels is not None:
            known = self.channels if isinstance(self.normalize, Normalize) else channels
            require(channels == known, f"images of {channels} channels, and normalisation of {known}")
            self.channels = channels
        self._example = example
        probe = inputs_like(self.model, example, self.channels)
        self.find(probe)
        outputs = self._look(self, probe)
        shape = sides(example) if isinstance(example, int | tuple) else None
        pixels = tuple(outputs.logits.shape[2:])
        if outputs.logits.ndim not in (2, 3) and pixels != shape:
            raise InputError(
                f"{self._name} gives logits {list(outputs.logits.shape)}; [B, classes] is needed, or as many pixels as "
                "the images have, or [B, channels, anchors]"
            )
        infos = [
            _feature_info(path, feature, self.prefix_tokens, self._channels_last, shape)
            for path, feature in zip(self.taps or (), outputs.features, strict=True)
        ]
        return NetworkInfo(outputs.logits.shape[1], tuple(infos), self._embedding_width(outputs.embedding), pixels)

    def behind(self, feature: Tensor, tap: int | None = None) -> Tensor:
        """Return the logits ``[R, classes]`` that the network gives with another feature in the place of its own.

        The layers before it run on a few black images, whose outputs are thrown away, so it costs little more than the
        layers behind it. The gradient reaches the feature.

        Args:
            feature: ``[R, ...]``, of the shape that the tapped module gives, or the classifier takes.
            tap: index of the tap whose output is replaced; ``None`` replaces what the classifier takes.

        Raises:
            InputError: the network has not been described yet, its classifier is not known, it is in training mode, or
                the logits depend on more than this feature.
        """
        if self._example is None or self.taps is None:
            raise InputError(f"{self._name} is not described yet: call describe(image_size)")
        require(
            not self.model.training,
            f"{self._name} is in training mode, where black images would count: call eval()",
        )
        path = self.classifier if tap is None else self.taps[tap]
        if path is None:
            raise InputError(f"the classifier of {self._name} is not known; declare classifier_path in its class")
        module = self.model.get_submodule(path)
        handle = (
            module.register_forward_pre_hook(lambda module, args: _with_first(args, _at_each_place(feature, args[0])))
            if tap is None
            else module.register_forward_hook(lambda module, args, output: _with_first(output, feature))
        )
        rows = len(feature)
        # As many as the feature has rows, they would go unnoticed where a way leads past it.
        black = inputs_like(self.model, self._example, self.channels, items=3 if rows == 2 else 2)
        try:
            logits = first_tensor(call(self.model, self._prepare(black)))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self._name} does not go on from {path} with {list(feature.shape)}: {reason}") from error
        finally:
            handle.remove()
        if logits is None or len(logits) != rows:
            raise InputError(f"the logits of {self._name} depend on more than {path}: name another tap")
        return logits

    def parts(self) -> list[list[nn.Module]]:
        """Return the modules of the network that run up to the end of each tap, in their order, and behind the last.

        Modules that have others in them are left out. One that runs several times counts where it runs first.

        Raises:
            InputError: the network has not been described yet.
        """
        if self._example is None or self.taps is None:
            raise InputError(f"{self._name} is not described yet: call describe(image_size)")
        found: list[dict[nn.Module, None]] = [{}]
        leaves = [module for module in self.model.modules() if not any(True for _ in module.children())]

        def enter(module: nn.Module, args: Any) -> None:
            if not any(module in part for part in found):
                found[-1][module] = None

        def end(module: nn.Module, args: Any, output: Any) -> None:
            found.append({})

        handles = [leaf.register_forward_pre_hook(enter) for leaf in leaves]
        handles += [self._module("tap", path).register_forward_hook(end) for path in self.taps]
        try:
            self._look(self, inputs_like(self.model, self._example, self.channels))
        finally:
            for handle in handles:
                handle.remove()
        return [list(part) for part in found]

    @property
    def _name(self) -> str:
        return type(self.model).__name__

    @property
    def _channels_last(self) -> bool:
        # timm marks so the networks whose maps are [B, H, W, C]
        return str(getattr(self.model, "output_fmt", "")) == "NHWC"

    def _module(self, what: str, path: str) -> nn.Module:
        modules = {known: module for known, module in self.model.named_modules(remove_duplicate=False) if known}
        if path not in modules:
            parts = few([name for name, _ in self.model.named_children()], most=12)
            has = f"; its parts are {parts}" if parts else ""
            raise InputError(f"{what} {path!r} is no module of {self._name}{near(path, modules, '')}{has}")
        return modules[path]

    def _tap(self, paths: Sequence[str]) -> None:
        found = [self._module("tap", path) for path in paths]
        modules = [module.tapped if isinstance(module, Projected) else module for module in found]
        self.taps = tuple(paths)
        self._readers = [_Reader() for _ in modules]
        pairs = zip(modules, self._readers, strict=True)
        self._handles += [module.register_forward_hook(reader) for module, reader in pairs]

    def _read_classifier(self, path: str | None) -> None:
        if path is not None:
            module = self._module("classifier_path", path)
            self._handles.append(module.register_forward_pre_hook(self._embedding))
        self.classifier = path
        self._classifier_known = True

    def _check(self, inputs: Inputs) -> None:
        """Refuse what is none of the inputs that the network was described with, or no images."""
        example = self._example
        if isinstance(inputs, Tensor) and (example is None or isinstance(example, int | tuple)):
            _check_images(inputs, self.channels)
            return
        if example is not None and _shapes(inputs) != _shapes(example):
            raise InputError(f"{self._name} was described with {_said(example)}, and these are {_said(inputs)}")

    def find(self, inputs: Inputs) -> None:
        """Look for what the network does not declare, unless that is done, with black images of the size of these."""
        if self.taps is not None and self._classifier_known:
            return
        if torch.compiler.is_compiling():
            raise InputError(
                f"the taps and the classifier of {self._name} are not known yet: "
                f"call describe(image_size) before compiling"
            )
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            require(
                self.taps is not None,
                f"{self._name} takes no images, so its features are not looked for: name taps, or declare default_taps",
            )
            self._read_classifier(None)
            return
        look = Look(
            self.model,
            lambda images: self._look(lambda seen: self.model(self._prepare(seen)), images),
            cast(Tensor, inputs_like(self.model, size_of(*inputs.shape[2:]), self.channels)),
            self.prefix_tokens,
            self._channels_last,
        )
        if self.taps is None:
            self._tap(look.stages() if self._stages else [look.last()])
        if not self._classifier_known:
            self._embedding.pooled = True
            self._read_classifier(look.classifier())

    def _embedding_width(self, embedding: Tensor | None) -> int | None:
        if self.classifier is None:
            return None
        if embedding is None or embedding.ndim != 2:
            taken = "nothing" if embedding is None else list(embedding.shape)
            raise InputError(
                f"classifier_path {self.classifier!r} of {self._name} takes {taken}; name the module that takes [B, d]"
            )
        return embedding.shape[1]

    def _look(self, run: Any, images: Inputs) -> Any:
        try:
            with undisturbed(self):
                return run(images)
        except InputError:
            raise
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self._name} does not take {_said(images)}: {reason}") from error

    def _prepare(self, images: Inputs) -> Inputs:
        if not isinstance(images, Tensor):
            return images
        if images.dtype == torch.uint8:
            images = images.float().div_(255)  # in place: new memory costs more than dividing
        return images if self.normalize is None else self.normalize(images)

    def _checked(
        self,
        logits: Tensor | None,
        outputs: Sequence[Tensor | None],
        embedding: Tensor | None,
        mask: Tensor | None,
    ) -> Outputs:
        if logits is None:
            raise InputError(f"{self._name} returns no tensor and no tuple that begins with one; logits are needed")
        features = []
        for path, output in zip(self.taps or (), outputs, strict=True):
            if output is None:
                raise InputError(f"tap {path!r} of {self._name} is not called or gives no tensor; tap another module")
            features.append(output if mask is None else _without_padding(output, mask))
        return Outputs(logits, tuple(features), embedding)


def _at_each_place(embedding: Tensor, taken: Tensor) -> Tensor:
    """Return embeddings ``[R, d]`` as a classifier takes them that is applied to each place of a map or a sequence."""
    if embedding.ndim == taken.ndim:
        return embedding
    if taken.ndim == 4 and taken.shape[1] == embedding.shape[1]:
        return embedding[:, :, None, None].expand(-1, -1, *taken.shape[2:])
    return embedding.view(len(embedding), *[1] * (taken.ndim - 2), -1).expand(-1, *taken.shape[1:-1], -1)


def _with_first(output: Any, tensor: Tensor) -> Any:
    """Return what a module took or gave with another tensor in the place of the first, in the type of that one."""
    if isinstance(output, Tensor):
        return tensor.to(output.dtype)
    return type(output)([tensor.to(output[0].dtype), *output[1:]])


class _Reader:
    """Forward hook of one tap. An object, not a closure, so that a copy of the network reads into its own copy."""

    def __init__(self) -> None:
        self.reading = False
        self.output: Tensor | None = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.reading:
            tensor = first_tensor(output)
            # Many networks change a map in place after its module returned it (the ReLU behind DenseNet's features,
            # `out += identity` behind a batch norm), and the feature would silently be something else. Nothing tells
            # beforehand that this will happen, so the feature is a copy: little beside what backward keeps anyway.
            self.output = None if tensor is None else tensor.clone()


class _InputReader:
    """Forward pre-hook of the classifier, an object as :class:`_Reader` is.

    One that was found may be applied to each place of a map or a sequence: the embedding is the mean over them.
    """

    def __init__(self) -> None:
        self.reading = False
        self.pooled = False
        self.output: Tensor | None = None

    def __call__(self, module: nn.Module, args: Any) -> None:
        if self.reading:
            taken = first_tensor(args)
            if self.pooled and taken is not None and taken.ndim > 2:
                taken = taken.mean((2, 3)) if isinstance(module, nn.Conv2d) else taken.flatten(1, -2).mean(1)
            self.output = taken


def _shapes(inputs: Any) -> Any:
    """Return the shape of an item, of each of several tensors by name."""
    if isinstance(inputs, Mapping):
        return {name: each.shape[1:] for name, each in inputs.items()}
    return inputs.shape[1:] if isinstance(inputs, Tensor) else inputs


def _said(inputs: Any) -> str:
    """Return in words what inputs are, for a message."""
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name} {list(each.shape)}" for name, each in inputs.items())
    if not isinstance(inputs, Tensor):
        height, width = sides(inputs)
        return f"images of {height}x{width}"
    if inputs.ndim == 5:
        return f"clips of {inputs.shape[2]} frames of {inputs.shape[3]}x{inputs.shape[4]}"
    if inputs.ndim != 4:
        return f"inputs {list(inputs.shape)}"
    channels, height, width = inputs.shape[1:]
    return f"images of {height}x{width}" + ("" if channels == 3 else f" and {count(channels, 'channel')}")


def _without_padding(feature: Tensor, mask: Tensor) -> Tensor:
    """Return a sequence ``[B, n, C]`` with 0 in the place of padding, which mask ``[B, n]`` says."""
    if feature.ndim != 3 or feature.shape[1] != mask.shape[1]:
        return feature
    return feature.masked_fill(~mask.unsqueeze(2), 0)


def _check_images(images: Tensor, channels: int) -> None:
    if images.ndim not in (4, 5) or images.shape[1] != channels:
        raise InputError(f"images {list(images.shape)} must be [B, {channels}, H, W], clips [B, {channels}, T, H, W]")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputError(f"images are {images.dtype}; uint8 or float in [0, 1] is needed")


def _feature_info(
    path: str, feature: Tensor, prefix_tokens: int, channels_last: bool, images: tuple[int, int] | None
) -> FeatureInfo:
    shape = list(feature.shape)
    if feature.ndim == 5 and shape[0] == PROBE_BATCH and images is None:
        return FeatureInfo(path, "volume", shape[1], tuple(shape[2:]))
    if feature.ndim not in (3, 4) or shape[0] != PROBE_BATCH:
        raise InputError(
            f"tap {path!r} gives {shape} for {PROBE_BATCH} images, no spatial grid; tap a module before the pooling"
        )
    last = channels_last
    if feature.ndim == 4 and images is not None:
        last = is_channels_last(feature.shape, channels_last, images)
    if feature.ndim == 4 and last:
        return FeatureInfo(path, "map_last", shape[3], (shape[1], shape[2]))
    if feature.ndim == 4:
        return FeatureInfo(path, "map", shape[1], (shape[2], shape[3]))
    tokens = shape[1] - prefix_tokens
    if images is None and tokens > 0:
        return FeatureInfo(path, "sequence", shape[2], (1, tokens), prefix_tokens)
    images = images or (1, tokens)
    grid = grid_of(tokens, images)
    if grid is None:
        kind = "a square grid" if images[0] == images[1] else f"a grid of the shape of {images[0]}x{images[1]}"
        raise InputError(
            f"tap {path!r} gives {shape[1]} tokens, which is not {prefix_tokens} prefix tokens and {kind}; "
            f"set prefix_tokens to the number of class, distillation and register tokens"
        )
    return FeatureInfo(path, "sequence", shape[2], grid, prefix_tokens)
