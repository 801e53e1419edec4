"""What can be chosen for a study, with its defaults."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trg_pyg.data.base import Data
from trg_pyg.distillers.base import Distiller
from trg_pyg.errors import check_channels, require
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.training.config import TrainConfig

DistillerFactory = Callable[[NetworkInfo, NetworkInfo | None], Distiller]
Channels = tuple[float, float, float]

# Arguments by which the builders of torchvision and timm load trained weights.
LOADING_ARGS = ("weights", "pretrained", "checkpoint_path")
# In minutes.
_WEEK = 7 * 24 * 60


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
        weights: to start from: a file, safetensors or a PyTorch state dict, or of timm's networks hf-hub:NAME or
            local-dir:FOLDER. Where they have another number of classes, the head starts anew.
        taps: module paths of the features to distil, shallow ones first, the last one for tokens; null takes what the
            method reads: the last feature map, or one a stage.
        prefix_tokens: class, distillation and register tokens of a transformer; null asks the network.
        mean: channel means that the network expects, in [0, 1]; null takes those of pretrained weights, or else the
            data's.
        std: channel deviations that the network expects; null like mean.
    """

    name: str = "resnet8"
    args: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    taps: list[str] | Literal["last", "stages"] | None = None
    prefix_tokens: int | None = None
    mean: Channels | None = None
    std: Channels | None = None

    @property
    def trained_further(self) -> bool:
        """Whether weights are where its training begins, so that their head need not be that of the data."""
        return True


@dataclass(kw_only=True)
class TeacherConfig(NetworkConfig):
    """The teacher: weights from a file, published ones, those that its args load, or trained here once and kept.

    Args:
        name: a network, named as the student's; by default that of the published weights, if any.
        args: further keyword arguments of the network.
        weights: file to use, or a name of teachers.yaml, such as repdistiller/resnet56_cifar100; that is downloaded
            once, and a file of that name comes first. Of timm's networks also hf-hub:NAME or local-dir:FOLDER.
        trained: of weights, and of args that load some (weights of torchvision, pretrained of timm): true uses the
            network as it is, false trains it further on these data, with a head for their classes; null uses weights
            as they are, trains a new network without, and refuses args that load some.
        train: recipe by which the teacher is trained where it does not come trained.
        seed: of the teacher's training.
        accuracy_tolerance: points that its accuracy may differ by from the stated one; where it differs by more on the
            test images, the run is refused. null only reports it.
    """

    name: str = "resnet20"
    trained: bool | None = None
    train: TrainConfig = field(default_factory=_teacher_recipe)
    seed: int = 0
    accuracy_tolerance: float | None = 0.5

    def __post_init__(self) -> None:
        tolerance = self.accuracy_tolerance
        require(tolerance is None or tolerance >= 0, f"teacher.accuracy_tolerance={tolerance}: give 0 or more, or null")

    @property
    def trained_further(self) -> bool:
        """Whether weights are where its training begins, and not used as they are."""
        return self.trained is False


@dataclass(kw_only=True)
class MethodsConfig:
    """What the methods are, the rows of the table.

    Args:
        distiller: the method, by class name, with its options.
        method_options: options of the distillers in methods by class name, such as {TRG: {alpha: 4.0}}.
        variants: rows of names of one's own, each a class with options, such as {TRG k=4: {class_path: TRG, init_args:
            {k: 4}}}; methods may name them, and without methods and distiller they are the methods. Their options are
            complete in themselves: neither method_options nor distiller flow into them.
        reference: the method that the others are compared with in the table; null takes KD where it is among the
            methods and there are several seeds.
    """

    distiller: DistillerFactory | None = None
    method_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    reference: str | None = None


@dataclass(kw_only=True)
class Config:
    """One study on one data set and one pair of networks: everything but its methods and seeds.

    Args:
        data: the images or texts, by class name.
        student: the network that learns.
        teacher: the network that teaches.
        train: recipe of the student's training.
        device: auto takes a GPU if there is one.
        share_teacher: train all methods of a seed side by side on the same batches, the teacher run once for all of
            them: the same results in less time, but all students are in memory.
        teacher_store: keep what a teacher says of each view of an image. In files beside the trained teachers, for
            later epochs, runs and methods: the same results in less time. logits, embedding for these and what the
            classifier takes, maps for these and the taps, auto for the most that store_gb holds; off for nothing.
        store_gb: 10^9 bytes that auto may fill. Counted for all views of all images.
        fill_store: store the logits of all views at first. Else each is stored when a training needs it.
        checkpoint_minutes: age of a checkpoint at which the next is written within an epoch; null: after epochs only.
        wait_minutes: how long one of several processes waits for another that lives; such as the main one that
            downloads the data. Then the training is given up; one that dies ends it at once.
        keep: checkpoints of a run that are kept; should the last be damaged, the one before it is used.
        graph_metrics: after each evaluation, measure how many edges of the teacher's token graphs the student has; on
            64 of the evaluated images, for methods with token graphs. Changes nothing else.
        output: folder of all runs and trained teachers.
        wandb: offline needs neither network nor account; wandb sync uploads later.
        wandb_project: project of the runs in wandb.
        wandb_entity: user or team of the project; null: who is logged in.
        wandb_name: what names of runs begin with, before method and seed.
        wandb_tags: of the runs, such as [baseline, cifar].
        wandb_notes: of the runs.
        wandb_steps: steps after which the losses of the epoch so far are sent too; null: epochs only.
    """

    data: Data
    student: NetworkConfig = field(default_factory=NetworkConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    train: TrainConfig = field(default_factory=_student_recipe)
    device: str = "auto"
    share_teacher: bool = False
    teacher_store: Literal[False, "logits", "embedding", "maps", "auto"] = False  # what YAML makes of off
    store_gb: float = 8.0
    fill_store: bool = False
    checkpoint_minutes: float | None = 10.0
    wait_minutes: float = 60.0
    keep: int = 2
    graph_metrics: bool = True
    output: Path = Path("runs")
    wandb: Literal["offline", "online", "disabled"] = "offline"
    wandb_project: str = "trg_pyg"
    wandb_entity: str | None = None
    wandb_name: str | None = None
    wandb_tags: list[str] = field(default_factory=list)
    wandb_notes: str | None = None
    wandb_steps: int | None = None

    def __post_init__(self) -> None:
        minutes = self.checkpoint_minutes
        require(minutes is None or minutes >= 0, f"checkpoint_minutes={minutes}: give 0 or more, or null")
        wait = self.wait_minutes
        require(0 < wait <= _WEEK, f"wait_minutes={wait}: give more than 0, and at most {_WEEK:,}, which is a week")
        steps = self.wandb_steps
        require(steps is None or steps >= 1, f"wandb_steps={steps}: give 1 or more, or null")
        require(self.keep >= 1, f"keep={self.keep}: give 1 or more")
        require(self.store_gb > 0, f"store_gb={self.store_gb:g}: give a number above 0")
        require(
            bool(self.teacher_store) or not self.fill_store,
            "fill_store=true fills a store: set teacher_store, such as to logits",
        )
        for role, network in (("student", self.student), ("teacher", self.teacher)):
            check_channels(network.mean, network.std, f"{role}.")
