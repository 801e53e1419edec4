"""Everything that a study needs, built and checked before any training starts."""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from trg_pyg._size import Size
from trg_pyg.batch import Batch, Inputs, mask_of
from trg_pyg.config.choices import Choices
from trg_pyg.config.methods import Method
from trg_pyg.config.schema import LOADING_ARGS, Config, NetworkConfig
from trg_pyg.data.base import Source, Splits
from trg_pyg.data.facts import DataFacts
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.data.splits.long_tail import shots
from trg_pyg.distillers.base import Distiller, GraphSize, Taps
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.errors import InputError, count, require
from trg_pyg.models.cost import Cost, cost
from trg_pyg.models.networks import Networks
from trg_pyg.models.normalize import Normalize
from trg_pyg.models.pretrained import is_hub
from trg_pyg.models.published import sha256_of
from trg_pyg.models.taps import NetworkInfo, Outputs, TappedModel
from trg_pyg.models.weights import load_weights, not_finite
from trg_pyg.models.zoo import build_model
from trg_pyg.runs import PLACES, READING, without_later
from trg_pyg.step import Step
from trg_pyg.training.config import TrainConfig, without_off
from trg_pyg.training.deterministic import set_cublas_workspace
from trg_pyg.training.distributed import SINGLE_PROCESS, World, process_device, sync_batchnorm
from trg_pyg.training.loop import check_batches
from trg_pyg.training.mixing import check_mixing
from trg_pyg.training.teacher_store import Views

# Of each class of the training images, for a method that needs held-out ones where the data hold none out.
OWN_SHARE = 0.05


class Pair(NamedTuple):
    """What a method is told of the two networks."""

    student: NetworkInfo
    teacher: NetworkInfo | None


@dataclass(frozen=True)
class Objective:
    """What a method minimises, for a reader.

    Attributes:
        weights: weight of each part at the start of the training and at its end; empty where the method does not say,
            see :meth:`~trg_pyg.distillers.base.Distiller.weighted_parts`.
        symbols: option that is the weight of a part, where it has another name.
        tokens: that are taken of an image; ``None`` where there are none.
        images: that the losses of a step see at once.
        graphs: sizes of the graphs of so many images.
        fitted: what is less than was asked for, see :meth:`~trg_pyg.distillers.base.Distiller.fitted`.
        passes: images through student and teacher in a step, for each of its images.
        pools: further streams of images that the method takes.
    """

    weights: dict[str, tuple[float, float]]
    symbols: Mapping[str, str]
    tokens: int | None
    images: int
    graphs: dict[str, GraphSize]
    fitted: list[str]
    passes: float
    pools: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """Methods x seeds on one data set and one pair of networks.

    Attributes:
        choices: the configuration.
        device: where everything runs.
        splits: the images, on the device; of streamed ones, the batches go there.
        shots: classes with many, medium and few training images; empty unless the set is long-tailed.
        pairs: classes and features of student and teacher, for each set of taps that a method reads; no teacher where
            no method needs one.
        costs: of the networks, by role: student, and teacher where a method needs one.
        folder: where the runs of this study go.
        world: the processes that train together; the main one writes and reports.
        objectives: what each method minimises, by its name.
        started: where weights were taken over, from what and without which head, by role.
    """

    choices: Choices
    device: torch.device
    splits: Splits
    shots: dict[str, Sequence[int]]
    pairs: dict[Taps, Pair]
    costs: dict[str, Cost]
    folder: Path
    world: World = SINGLE_PROCESS
    objectives: dict[str, Objective] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The configuration as objects."""
        return self.choices.config

    @property
    def quiet(self) -> bool:
        """Whether this process says nothing but warnings and errors: it was asked to, or it is not the main one."""
        return self.choices.quiet or not self.world.is_main

    def pools_of(self, method: Method) -> tuple[str, ...]:
        """Return the further streams of images that a method takes."""
        objective = self.objectives.get(method.name)
        return () if objective is None else objective.pools

    def splits_of(self, method: Method) -> Splits:
        """Return the images as a method gets them: where it needs held-out ones and there are none, with its own."""
        return _splits_for(self.pools_of(method), self.splits, self.config.data.subset_seed)

    @property
    def name(self) -> str:
        """Data and pair."""
        return "/".join(self.folder.parts[-2:])


def prepare(choices: Choices, world: World = SINGLE_PROCESS) -> Study:
    """Read the data, build every network and every method once, and refuse what cannot work.

    Raises:
        InputError: in one line, what is wrong with the data, a network or a method.
    """
    config = choices.config
    device = pick_device(config.device)
    with world.main_first():  # it downloads and caches, the others find it done
        splits = config.data.load()
    need_teacher = any(method.needs_teacher for method in choices.methods)
    for recipe in [config.train, *([config.teacher.train] if need_teacher and choices.trains_teacher else [])]:
        check_mixing(recipe, splits.train)
    student = build_network(config.student, splits, seed=0)
    teacher = build_network(config.teacher, splits, seed=0) if need_teacher else None
    pairs = {
        taps: Pair(
            _describe(student, config.student, taps, splits),
            None if teacher is None else _describe(teacher, config.teacher, taps, splits),
        )
        for taps in dict.fromkeys(method.taps for method in choices.methods)
    }
    networks = {"student": student} | ({} if teacher is None else {"teacher": teacher})
    costs = {role: cost(network.model, splits.example, splits.channels) for role, network in networks.items()}
    objectives = {}
    for method in choices.methods:
        try:
            distiller = method.build(*pairs[method.taps])
            distiller.learn(splits.train.task)
            own = _splits_for(distiller.pools, splits, config.data.subset_seed)
            distiller.pool_sizes = {name: len(source) for name, source in own.pools.items()}
            distiller.bind(own.train.targets, torch.Generator())
            if config.teacher_store and distiller.needs_teacher and not distiller.has_views():
                Views.of(config.data.augment(), config.train, own.train)
            fewest = check_batches(distiller, len(own.train), config.train, world)
        except InputError as error:
            if not method.is_variant:
                raise
            # Several variants may be of the class that the message names.
            raise InputError(f"variants.{method.name}: {error}") from error
        both = _networks(distiller, student, teacher, config, splits.example)
        weights, passes = _try(method.name, distiller, pairs[method.taps], both, own, fewest)
        seen = _images_at_once(len(own.train), config.train, world)
        objectives[method.name] = Objective(
            weights,
            distiller.symbols,
            distiller.num_tokens,
            seen,
            distiller.graph_sizes(seen),
            distiller.fitted(seen),
            passes,
            distiller.pools,
        )
    if config.train.sync_batchnorm:
        sync_batchnorm(student, device)  # refused here where it cannot be, not after a teacher's training
    if need_teacher and choices.trains_teacher:
        check_batches(Vanilla(next(iter(pairs.values())).student, None), len(splits.train), config.teacher.train, world)
    data = type(config.data).__name__
    tail = "" if config.data.imbalance is None else f"-LT{config.data.imbalance:g}"
    # A result on validation images must never lie among those on the test images.
    held_out = "" if splits.evaluated == "test" else "-val"
    pair = "-".join(short_name(network.name) for network in (config.teacher, config.student))
    return Study(
        choices=choices,
        device=device,
        splits=splits.to(device),
        shots=dict(shots(splits.class_counts)) if config.data.long_tailed else {},
        pairs=pairs,
        costs=costs,
        folder=config.output / f"{data}{tail}{held_out}" / pair,
        world=world,
        objectives=objectives,
        started={role: _started(network, getattr(config, role)) for role, network in networks.items()},
    )


def _splits_for(pools: Sequence[str], splits: Splits, seed: int) -> Splits:
    if "heldout" not in pools or splits.heldout is not None:
        return splits
    return splits.holding_out(OWN_SHARE, seed)


def _started(network: TappedModel, config: NetworkConfig) -> str:
    """Return what a network begins with where it does not begin at random, for the reader; empty where it does."""
    loading = [f"{key}={config.args[key]}" for key in LOADING_ARGS if config.args.get(key)]
    origin = ([] if config.weights is None else [f"weights {config.weights}"]) + loading
    if not origin or not config.trained_further:
        return ""
    head = getattr(network.model, "new_head", "")
    expects = [f"mean {config.mean}", f"std {config.std}"] if config.mean is not None else []
    return "; from " + ", ".join(origin + ([head] if head else []) + expects)


def prepare_process(choices: Choices) -> None:
    """Set what has to be set before CUDA is first used.

    Raises:
        InputError: the training is to be deterministic, and cuBLAS can't be made so any more.
    """
    config = choices.config
    recipes = [config.train, *([config.teacher.train] if choices.trains_teacher else [])]
    wanted = any(recipe.deterministic for recipe in recipes)
    if wanted and config.device != "cpu" and torch.cuda.is_available():
        set_cublas_workspace()


def build_network(config: NetworkConfig, data: Splits | DataFacts, seed: int, taps: Taps = "none") -> TappedModel:
    """Return the network, initialised by ``seed`` or from its weights, on the CPU.

    Raises:
        InputError: it can't be built, or the weights can't be had, are those of another network or not finite.
    """
    for name in ("name", "num_classes", "image_channels", "vocabulary_size"):
        require(
            name not in config.args,
            f"model {config.name!r}: args has {name}={config.args.get(name)}, which is not for you to choose there: "
            f"{'it is what names the network' if name == 'name' else 'the data have the ' + name.partition('_')[2]}; "
            "take it out",
        )
    source, _, inner = config.name.partition(":")
    require(not is_hub(inner), f"model {config.name!r}: give {inner} as weights, and {source}:ARCHITECTURE as the name")
    torch.manual_seed(seed)
    hub = config.weights is not None and is_hub(config.weights)
    name = f"timm:{config.weights}" if hub else config.name
    # A network has to be told how many numbers a piece of a text can have, as it is of the channels of images.
    words = data.vocabulary
    told = {} if words is None else {"vocabulary_size": len(words)}
    if data.channels:
        told = {"image_channels": data.channels}
    model = build_model(name, len(data.classes), **told, **config.args)
    for option in ("mean", "std"):
        given = getattr(config, option)
        require(
            given is None or len(given) == data.channels,
            f"model {config.name!r}: {option} {given} of images with {count(data.channels, 'channel')}; leave it out "
            "to take that of the data",
        )
    normalize = Normalize(config.mean or data.mean, config.std or data.std) if data.channels else None
    network = TappedModel(model, _named_taps(config, taps), normalize, config.prefix_tokens)
    if config.weights is None:
        return network
    if not hub:
        head = None
        if config.trained_further:
            network.describe(data.example)
            head = network.classifier or ""
        model.new_head = load_weights(model, config.weights, head).new_head  # type: ignore[assignment]
    bad = not_finite(model)
    require(bad is None, f"weights {config.weights}: {bad} is not finite; take sound weights")
    return network


def tapped(network: TappedModel, config: NetworkConfig, taps: Taps) -> TappedModel:
    """Return the same network, not a copy, with other taps."""
    return TappedModel(network.model, _named_taps(config, taps), network.normalize, config.prefix_tokens)


def _named_taps(config: NetworkConfig, taps: Taps) -> list[str] | Literal["last", "stages"]:
    """Return what a method looks at: nothing, or what the configuration names, or what is usual."""
    if taps == "none":
        return []
    return taps if config.taps is None else config.taps


def pick_device(name: str) -> torch.device:
    """Return this process's device of that name; auto takes a GPU if there is one."""
    device = process_device(name)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"device={name}: {reason}; choose auto, cpu, or cuda where a GPU is present") from error
    return device


def short_name(network: str) -> str:
    """Return a network's name as part of a path."""
    return network.rpartition(":")[2].replace("/", "_")


def fingerprint(identity: dict[str, Any]) -> str:
    """Return a short hash of plain values, the same on every machine."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def identity_of(settings: dict[str, Any], study: Study, taps: Taps, pools: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the result of a training depends on, as plain values.

    Data and weights are told by what they hold, not by where they lie: data by their
    :attr:`~trg_pyg.data.base.Splits.digest`, with the options that make splits of them, files of weights by their hash.
    Settings that change no result are left out: how data are read, what nothing uses, and what is checked beside the
    training.

    Args:
        settings: of the training, by part.
        study: that it belongs to.
        taps: which features its method reads where none are named.
        pools: which further streams of images it takes.
    """
    known = settings | {
        "data": _identity_of_data(settings["data"], study, pools),
        "train": without_off(settings["train"]),
    }
    if "distiller" in settings:
        known["distiller"] = without_later(settings["distiller"])
    for role in ("student", "teacher"):
        if role in settings:
            known[role] = _identity_of_network(settings[role], taps)
    if "teacher" in known:
        recipe = {"train": without_off(settings["teacher"]["train"])}
        trained_here = study.choices.trains_teacher
        known["teacher"] = known["teacher"] | recipe if trained_here else _without(known["teacher"], "train", "seed")
    return known


def _identity_of_data(data: dict[str, Any], study: Study, pools: Sequence[str]) -> dict[str, Any]:
    options = _without(data.get("init_args") or {}, *READING, *PLACES, "unlabelled")
    if "unlabelled" in pools and study.splits.unlabelled is not None:
        options["unlabelled"] = study.splits.unlabelled.digest
    for name in ("heldout", "scaled_decoding"):
        if not options.get(name):  # as all data were before there was the option
            options.pop(name, None)
    if options.get("interpolation") == "bilinear":
        options["interpolation"] = None  # which it stands for
    if "stream" in options:
        # All that it changes: without a mean of its own, a stream is normalised by ImageNet's.
        options["stream"] = isinstance(study.splits.train, FileSet) and options.get("mean") is None
    return data | {"init_args": options, "digest": study.splits.digest}


def images_of(study: Study) -> str:
    """Return a hash that names the whole data set, as it is decoded, before parts of it are held out or left out."""
    data = _identity_of_data(study.choices.settings["data"], study, ())
    splits = ("imbalance", "subset_seed", "validation", "heldout")
    return fingerprint(data | {"init_args": _without(data["init_args"], *splits, "stream", "crop_padding", "flip")})


def _identity_of_network(network: dict[str, Any], taps: Taps) -> dict[str, Any]:
    idle = ("taps", "prefix_tokens") if taps == "none" else ()
    known, weights = _without(network, "accuracy_tolerance", *idle), network.get("weights")
    if weights is not None and Path(weights).is_file():
        known["weights"] = sha256_of(Path(weights))
    return known


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def _networks(
    distiller: Distiller, student: TappedModel, teacher: TappedModel | None, config: Config, example: Size | Inputs
) -> Networks:
    """Return what a method may ask in a step; a method that changes its student is given a copy."""
    if type(distiller).extend is not Distiller.extend:
        student = copy.deepcopy(student)
    student = tapped(student, config.student, distiller.taps)
    student.describe(example)
    distiller.extend(student)
    if teacher is not None:
        teacher = tapped(teacher, config.teacher, distiller.taps).eval()
        teacher.describe(example)
    return Networks(student, teacher)


@torch.no_grad()
def _try(
    name: str, distiller: Distiller, pair: Pair, networks: Networks, splits: Splits, smallest: int
) -> tuple[dict[str, tuple[float, float]], float]:
    """Compute a loss on noise, so that what fails in a step fails before a teacher is trained for it.

    Returns:
        The weight of each part at the start of the training and at its end; images through both networks, an image.
    """
    generator = torch.Generator().manual_seed(0)
    # At random, since a data set may come class by class.
    index = torch.randperm(len(splits.train), generator=generator)[:smallest]
    inputs = _first(splits.train.select(index), smallest).inputs
    pool = {name: _first(source, smallest) for name, source in splits.pools.items() if name in distiller.pools}
    step = Step(splits.train.targets[index], 0.0, generator, index, networks, pool=pool)
    step = replace(step, inputs=inputs, mask=mask_of(inputs))
    try:
        if distiller.has_views():
            step = replace(step, rows=distiller.see(inputs, step)[1])
        rows = sum(step.rows or (smallest,))
        student, teacher = (None if info is None else _noise(info, rows, generator) for info in pair)
        assert student is not None
        own = type(distiller).forward is not Distiller.forward
        if own:
            distiller(student, teacher, step)
        asked = networks.passed
        start = _weights(distiller.weighted_parts(student, teacher, step))
        asked = asked if own else networks.passed
        end = _weights(distiller.weighted_parts(student, teacher, replace(step, progress=1.0)))
        beside = networks.passed
        if distiller.learns_beside():
            distiller.before(inputs, step)
        beside = networks.passed - beside
    except InputError as error:
        raise InputError(
            f"{name} in a batch of {count(smallest, splits.item)}, the smallest of an epoch: {error}"
        ) from error
    passes = (rows * (1 + distiller.needs_teacher) + asked + beside / distiller.every) / smallest
    return {part: (start.get(part, 0.0), end.get(part, 0.0)) for part in start | end}, passes


def _weights(parts: dict[str, tuple[float, Tensor]]) -> dict[str, float]:
    return {part: float(weight) for part, (weight, _) in parts.items()}


def _first(source: Source, images: int) -> Batch:
    """Return the first images."""
    few = source.select(torch.arange(min(images, len(source))))
    return next(iter(make_loader(few, len(few), shuffle=False)))


def _images_at_once(train_images: int, recipe: TrainConfig, world: World) -> int:
    """Return how many images the losses of a full step compare with one another."""
    batch = min(recipe.batch_size, train_images)
    part = world.part(batch)[0] if recipe.loss_scope == "local" else batch
    return -(-part // recipe.accumulate)


def _noise(info: NetworkInfo, images: int, generator: torch.Generator) -> Outputs:
    def draw(*shape: int) -> Tensor:
        return torch.randn(images, *shape, generator=generator)

    embedding = None if info.embedding is None else draw(info.embedding)
    return Outputs(draw(info.num_classes, *info.pixels), tuple(draw(*tap.shape) for tap in info.features), embedding)


def _describe(network: TappedModel, config: NetworkConfig, taps: Taps, splits: Splits) -> NetworkInfo:
    info = tapped(network, config, taps).describe(splits.example)
    task, classes = splits.train.task, len(splits.classes)
    parts = ("", "anchor", "pixel")
    found, fits = parts[len(info.pixels)], dict(zip(parts, ("resnet20", "retinanet", "unet"), strict=True))
    require(
        found == task.answers_for,
        f"{config.name} answers for {f'each {found}' if found else 'an image'}, and the data are for "
        f"{type(task).__name__}: choose another network, such as {fits[task.answers_for]}",
    )
    require(
        info.num_classes == task.width(classes),
        f"{config.name} gives {count(info.num_classes, 'logit')}, the data have {count(classes, 'class')}",
    )
    require(
        taps == "none" or len(info.features) > 0,
        f"{config.name}: taps is empty; name a module, or null to find the feature maps",
    )
    return info
