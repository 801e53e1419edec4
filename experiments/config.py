"""What can be chosen for a run: typed, from defaults, then a YAML file, then the command line."""

import shlex
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser, Namespace

# Imported for their subclasses: every dataset and distiller in these packages is known by its class name.
import trg_pyg.data
import trg_pyg.distillers  # noqa: F401
from experiments.parse_errors import class_at, one_line
from trg_pyg.data.base import ImageData
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import InputError, require
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.training.config import TrainConfig

DistillerFactory = Callable[[NetworkInfo, NetworkInfo | None], Distiller]
Channels = tuple[float, float, float]


def _student_recipe() -> TrainConfig:
    return TrainConfig(epochs=5, schedule="onecycle")


def _teacher_recipe() -> TrainConfig:
    return TrainConfig(epochs=12, schedule="onecycle")


@dataclass(kw_only=True)
class NetworkConfig:
    """A network by name.

    Args:
        name: resnet20 or another of the zoo, torchvision:NAME, timm:NAME, or package.module.Callable.
        args: further keyword arguments of the network.
        weights: file to start from: safetensors, or a PyTorch state dict.
        taps: module paths of the features to distil, the last one for tokens; null finds the last feature map.
        prefix_tokens: class, distillation and register tokens of a transformer; null asks the network.
        mean: channel means that the network expects, in [0, 1]; null takes the data's.
        std: channel deviations that the network expects; null takes the data's.
    """

    name: str = "resnet8"
    args: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    taps: list[str] | None = None
    prefix_tokens: int | None = None
    mean: Channels | None = None
    std: Channels | None = None


@dataclass(kw_only=True)
class TeacherConfig(NetworkConfig):
    """The teacher: weights from a file, or trained here once and kept.

    Args:
        name: resnet20 or another of the zoo, torchvision:NAME, timm:NAME, or package.module.Callable.
        train: recipe by which the teacher is trained where no weights are given.
        seed: of that training.
        accuracy_tolerance: points by which the measured test accuracy may differ from what the weights file states
            before the run is refused; null only reports it.
    """

    name: str = "resnet20"
    train: TrainConfig = field(default_factory=_teacher_recipe)
    seed: int = 0
    accuracy_tolerance: float | None = 0.5

    def __post_init__(self) -> None:
        tolerance = self.accuracy_tolerance
        require(tolerance is None or tolerance >= 0, f"teacher.accuracy_tolerance={tolerance}: give 0 or more, or null")


@dataclass(kw_only=True)
class Config:
    """One study: methods x seeds on one data set and one pair of networks.

    Args:
        data: the images, by class name.
        student: the network that learns.
        teacher: the network that teaches.
        distiller: the method, by class name, with its options.
        train: recipe of the student's training.
        device: auto takes a GPU if there is one.
        output: folder of all runs and trained teachers.
        wandb: offline needs neither network nor account; wandb sync uploads later.
        wandb_project: project of the runs in wandb.
    """

    data: ImageData
    student: NetworkConfig = field(default_factory=NetworkConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    distiller: DistillerFactory | None = None
    train: TrainConfig = field(default_factory=_student_recipe)
    device: str = "auto"
    output: Path = Path("runs")
    wandb: Literal["offline", "online", "disabled"] = "offline"
    wandb_project: str = "trg_pyg"


@dataclass(frozen=True)
class Method:
    """A distiller that was chosen.

    Attributes:
        name: its class name.
        settings: class path and options, as a configuration file has them.
        needs_teacher: whether it compares with a teacher.
        build: makes it for a student and a teacher.
    """

    name: str
    settings: dict[str, Any]
    needs_teacher: bool
    build: DistillerFactory


@dataclass(frozen=True)
class Choices:
    """A configuration that was read and is valid.

    Attributes:
        config: everything but the methods, as objects.
        settings: the same as plain values.
        methods: in the order of the table.
        seeds: one run each.
        resume: continue runs that stopped, and keep those that are finished.
        quiet: no bars and no line an epoch.
        command: what was typed.
    """

    config: Config
    settings: dict[str, Any]
    methods: list[Method]
    seeds: list[int]
    resume: bool
    quiet: bool
    command: str


# Used where neither a configuration nor the command line names a method.
DEFAULT_METHODS = ["Vanilla", "KD", "TRG"]


def build_parser() -> ArgumentParser:
    """Return the parser of ``experiments/run.py``."""
    parser = ArgumentParser(
        prog="run.py", description="Distil a student and print a table of methods.", exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file; what is typed after it wins")
    parser.add_argument(
        "--methods", nargs="+", type=str, help="distillers by class name, each with its defaults unless it is distiller"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run of every method for each")
    parser.add_argument("--resume", action="store_true", help="continue runs that stopped, keep those that finished")
    parser.add_argument("--quiet", action="store_true", help="no progress bars and no line an epoch")
    parser.add_class_arguments(Config)
    parser.set_defaults({"data": "Digits"})
    return parser


def read_choices(argv: Sequence[str] | None = None) -> Choices:
    """Read the command line and the files that it names.

    Raises:
        InputError: a key is unknown, a value has another type, or a value is impossible.
    """
    parser = build_parser()
    try:
        return _read(parser, sys.argv[1:] if argv is None else list(argv))
    except ArgumentError as error:
        raise InputError(one_line(str(error), parser)) from error


def _read(parser: ArgumentParser, argv: list[str]) -> Choices:
    parsed = parser.parse_args(argv)
    settings = _plain(parser, parsed)
    names = parsed.methods or ([] if parsed.distiller else DEFAULT_METHODS)
    chosen = [parsed.distiller] if parsed.distiller else []
    methods = [_method(parser, name, chosen) for name in names] or [_configured(parser, parsed)]
    for several, what in (([method.name for method in methods], "methods"), (parsed.seeds, "seeds")):
        require(len(set(several)) == len(several), f"{what}: {several} names one twice")
    for key in ("config", "methods", "seeds", "resume", "quiet", "distiller"):
        settings.pop(key, None)
    values = vars(parser.instantiate(parsed))
    config = Config(**{name: values[name] for name in Config.__dataclass_fields__})
    command = shlex.join(["python", "experiments/run.py", *argv])
    return Choices(config, settings, methods, list(parsed.seeds), parsed.resume, parsed.quiet, command)


def _method(parser: ArgumentParser, name: str, chosen: list[Namespace]) -> Method:
    """Return the configured distiller if it is the one of that name, else that class with its defaults."""
    for distiller in chosen:
        if name in (distiller.class_path, distiller.class_path.rpartition(".")[2]):
            return _configured(parser, Namespace(distiller=distiller))
    return _configured(parser, parser.parse_object({"distiller": name}))


def _configured(parser: ArgumentParser, parsed: Namespace) -> Method:
    # A parse of its own, so that the options of one class never become those of another.
    one = parser.parse_object({"distiller": _as_dict(parsed.distiller)})
    build = parser.instantiate(one).distiller
    cls = class_at(one.distiller.class_path)
    return Method(cls.__name__, _plain(parser, one)["distiller"], cls.needs_teacher, build)


def _as_dict(value: Any) -> Any:
    return value.as_dict() if isinstance(value, Namespace) else value


def _plain(parser: ArgumentParser, parsed: Namespace) -> dict[str, Any]:
    return yaml.safe_load(parser.dump(parsed, skip_unset=False))
