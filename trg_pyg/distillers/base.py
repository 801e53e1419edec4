"""The contract of a distiller: a named composition of losses with its weights."""

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from trg_pyg.batch import Batch, Inputs
from trg_pyg.errors import InputError, require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.graphs.token_graphs import TokenGraphs
from trg_pyg.models.networks import Networks
from trg_pyg.models.taps import NetworkInfo, Outputs, TappedModel
from trg_pyg.step import Step
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.image_classification import ImageClassification

Taps = Literal["none", "last", "stages"]
Labels = Literal["hard", "smooth", "mixed"]


class Losses(NamedTuple):
    """What a distiller returns.

    Attributes:
        total: float32 scalar to be minimised.
        parts: the unweighted value of each part by name, detached; every part is logged.
    """

    total: Tensor
    parts: dict[str, Tensor]


class GraphSize(NamedTuple):
    """Size of what a method builds of a batch, for each network.

    Attributes:
        builder: class of the graph builder.
        graphs: number of graphs.
        nodes: of all graphs together.
        edges: of all graphs together; ``None`` where they depend on what the nodes are.
    """

    builder: str
    graphs: int
    nodes: int
    edges: int | None


def graph_size(builder: GraphBuilder, graphs: int, nodes: int) -> GraphSize:
    """Return the size of what a builder makes of graphs of that many nodes each, tokens of an image in image scope."""
    if builder.scope == "batch":
        graphs, nodes = 1, graphs * nodes
    each = builder.num_edges(nodes)
    return GraphSize(type(builder).__name__, graphs, graphs * nodes, None if each is None else graphs * each)


class Distiller(nn.Module, ABC):
    """Base of all distillers.

    A distiller owns the projections that its losses need, so they train with the student. The typed constructor is
    the configuration: the first two arguments describe the networks, every other one is an option with a default.

    Args:
        student: the student's classes and tapped features.
        teacher: the same of the teacher; ``None`` only where :attr:`needs_teacher` is false.

    Attributes:
        needs_teacher: whether the method compares with a teacher.
        taps: the features that the method reads where none are named: none, the last map, or one map a stage. A
            network need not keep what nobody looks at.
        symbols: the option that is the weight of a part, where the part has another name.
        every: steps from one :meth:`before` to the next, for a method that has it.
        pools: further streams of images that the method takes in a step where the training has them: ``"heldout"``,
            that are not trained on, with their labels, and ``"unlabelled"``.
        pool_sizes: images of each of these streams that is there; a training sets it before :meth:`bind`.
        clips: whether its :meth:`views` can be of clips ``[B, C, T, H, W]`` too.
        min_images: smallest batch that the method works on; a training checks it before it starts.
        after: source of the idea, of a method whose paper gives no equations: tables say that its form is ours.
        per_image: the loss of a batch, and each part of it, is the mean of what each image gives alone, so that shares
            of a batch can be computed apart. A subclass does not inherit it: what it adds may compare images.
        by_rows: the loss is a mean over images (or their tokens), each compared with all of the batch, and the method
            reads ``step.share``: given the images of a share, it computes the rows of these. Not inherited either.
        labels: what it can learn from: ``"hard"`` labels alone; labels that are ``"smooth"`` too, or classes that weigh
            more than others, for its cross-entropy is that of the step; or ``"mixed"`` images of two classes too, for
            no part of it needs one class an image.
        tasks: kinds of data that the method can learn from: by default those of one class an item. One that reads
            features, or logits by :meth:`~trg_pyg.tasks.base.Task.rows` alone, can learn from all: ``(Task,)``.
        task: what the labels are; :meth:`learn` sets that of the data.
    """

    needs_teacher: ClassVar[bool] = True
    taps: ClassVar[Taps] = "last"
    symbols: ClassVar[Mapping[str, str]] = {}
    pools: tuple[str, ...] = ()
    pool_sizes: Mapping[str, int] = MappingProxyType({})
    clips: ClassVar[bool] = False
    every: int = 1
    min_images: int = 1
    labels: Labels = "hard"
    tasks: ClassVar[tuple[type[Task], ...]] = (ImageClassification,)
    task: Task = ImageClassification()
    after: ClassVar[str] = ""
    per_image: ClassVar[bool] = False
    by_rows: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("per_image", "by_rows"):
            if name not in vars(cls):
                setattr(cls, name, False)

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None) -> None:
        super().__init__()
        self._described = {"student": student, "teacher": teacher}

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of each part of the loss of a batch, with their gradients: what a method implements.

        A method that is no such sum implements :meth:`forward` instead. It trains and is reported as any other, but
        the opening summary of a study cannot say its weights, nor a diagnosis which part's gradient leads.

        Returns:
            ``{name: (weight, value)}``; empty for a method that does not say.
        """
        return {}

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        """Return the total loss of a batch and its parts: by default those of :meth:`weighted_parts`."""
        parts = self.weighted_parts(student, teacher, step)
        require(bool(parts), f"{type(self).__name__} has no loss: implement weighted_parts, or forward")
        return self.weigh(parts)

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return what both networks see in a step, in place of the images alone; the losses are told of all of it.

        A method that overrides it has forward passes of its own: the teacher's is not shared with other methods.
        Random draws of images come from ``step.noise``: several processes have other images of the batch.

        Args:
            images: uint8 ``[B, 3, H, W]``, of this process.
            step: its labels and the networks; its ``rows`` are not known yet.

        Returns:
            Views of any numbers of images, uint8 or float in [0, 1]; the first one has the B rows that the labels
            belong to. The networks are given all rows together, and ``step.split`` parts them again.
        """
        return [images]

    @classmethod
    def has_views(cls) -> bool:
        """Whether the method makes views of its own."""
        return cls.views is not Distiller.views

    def see(self, images: Inputs, step: Step) -> tuple[Inputs, tuple[int, ...] | None]:
        """Return all rows that the networks are given in a step, and :attr:`~trg_pyg.step.Step.rows` of them.

        Raises:
            InputError: the method makes views of images, and these are none; or no view has the labelled rows.
        """
        if not self.has_views():
            return images, None
        if not isinstance(images, Tensor) or images.dim() not in ((4, 5) if self.clips else (4,)):
            raise InputError(f"{type(self).__name__} makes views of images, and these data are none: leave it out")
        views = self.views(images, step)
        require(
            len(views) > 0 and len(views[0]) == len(images),
            f"{type(self).__name__}: the first view has {len(views[0]) if views else 0} rows for {len(images)} images; "
            "give one row a label",
        )
        if any(view.is_floating_point() for view in views):
            views = [view if view.is_floating_point() else view.float() / 255 for view in views]
        return torch.cat(views), tuple(map(len, views))

    def before(self, images: Inputs, step: Step) -> None:
        """Learn beside the student, before its forward pass in every :attr:`every`-th step; it is in training mode.

        What is learnt has to be in buffers of the method, so that it is saved, and undone where the step is not taken.
        A method that overrides it trains in one process.

        Args:
            images: uint8 ``[B, 3, H, W]``, or what else the networks take; of a step in several parts, those of the
                first.
            step: its labels and the networks.
        """

    def learns_beside(self) -> bool:
        """Whether the method has something to do :meth:`before` a step."""
        return type(self).before is not Distiller.before

    def meet(
        self,
        networks: Networks,
        batches: Callable[[], Iterable[Batch]],
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn what the method needs to know of the teacher before the first step; not called of a resumed training.

        Of several processes each does the same. What it learns has to be in parameters or buffers of the method.

        Args:
            networks: of the training.
            batches: gives the whole training set, in its order and without augmentation.
            generator: CPU generator for random draws.

        Returns:
            What is worth telling, by name; it stands with the means of the first epoch.
        """
        return {}

    @property
    def restarts(self) -> tuple[float, ...]:
        """Shares of the training, rising, in (0, 1), from which on the optimiser begins anew, and the schedule with it.

        A method of several phases tells by ``step.progress`` which one it is in. Each goes through the whole schedule
        of the learning rate; the first step of a phase is the first whose progress is the share or more.
        """
        return ()

    def extend(self, student: TappedModel) -> None:
        """Change the student before it trains, in place; called once. Its parameters train with the others."""

    def deploy(self, model: nn.Module) -> nn.Module:
        """Return the student's network as it is to be used, which is what is saved; ``model`` stays as it is."""
        return model

    def learn(self, task: Task) -> None:
        """Be told what the labels of the data are, before the first step.

        Raises:
            InputError: it cannot learn from such data.
        """
        require(
            isinstance(task, self.tasks),
            f"{type(self).__name__} is a method for {' or '.join(each.__name__ for each in self.tasks)}, and the data "
            f"are for {type(task).__name__}: leave it out",
        )
        self.task = task

    def check_labels(self, mixed: str, altered: str) -> None:
        """Refuse labels that the method cannot learn from, see :attr:`labels`.

        Args:
            mixed: what gives images several classes, for the message; empty where nothing does.
            altered: what else makes cross-entropy another one, such as smoothed labels.

        Raises:
            InputError: it cannot learn from them.
        """
        name = type(self).__name__
        require(
            not mixed or self.labels == "mixed",
            f"{mixed}: {name} needs one class an image, and mixed images have two; leave the mixing out (0), or {name}",
        )
        require(
            not altered or self.labels != "hard",
            f"{altered}: {name} has a cross-entropy of its own, of the labels as they are; leave it out (0), or {name}",
        )

    def check_batch(self, student: Outputs, teacher: Outputs | None, step: Step) -> None:
        """Refuse a batch that is not what the networks were described with.

        Raises:
            InputError: logits, features or embeddings are of other shapes, of other numbers of images, or no
                floating-point numbers; a label is no class, or labels are of a kind that it cannot learn from.
        """
        for owner, outputs in (("student", student), ("teacher", teacher)):
            described = self._described[owner]
            # What several processes gather is not looked at: a look sends what no method may read.
            if isinstance(outputs, Outputs) and described is not None:
                _check_outputs(owner, outputs, described, len(step.target) if step.rows is None else sum(step.rows))
        self.task.check_step(student, step)
        self.check_labels("" if step.soft is None else "Step.soft", step.alters_labels)

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make what depends on the training set, such as memory banks; called once, before the first step.

        Args:
            targets: class of every training image, ``[N]``, int64; ``Step.index`` counts in this order.
            generator: CPU generator for what is initialised at random.

        Raises:
            InputError: the training set does not allow what was asked for.
        """

    @property
    def num_tokens(self) -> int | None:
        """Tokens that the method takes of an image, for a reader; ``None`` where it cuts none."""
        return None

    def graph_sizes(self, images: int) -> dict[str, GraphSize]:
        """Return the size of each graph by name, for a reader; a method without graphs has none.

        Args:
            images: of a batch.
        """
        return {}

    @property
    def token_graphs(self) -> TokenGraphs | None:
        """The graphs of tokens whose neighbours the student is to learn, for edge recall and pictures; often none."""
        return None

    def fitted(self, images: int) -> list[str]:
        """Say what of the options is less than was asked for, since the maps or the batch are small; for a reader.

        Args:
            images: of a batch.
        """
        return []

    @staticmethod
    def weigh(parts: dict[str, tuple[float, Tensor]]) -> Losses:
        """Sum ``{name: (weight, value)}`` to a total and keep the unweighted values."""
        total = torch.stack([weight * value for weight, value in parts.values()]).sum()
        return Losses(total, {name: value.detach() for name, (_, value) in parts.items()})

    @staticmethod
    def need(teacher: Outputs | None) -> Outputs:
        """Return the teacher's outputs, or say that they are missing."""
        if teacher is None:
            raise InputError("this distiller compares with a teacher, but was given no teacher outputs")
        return teacher


def check_networks(student: NetworkInfo, teacher: NetworkInfo | None) -> NetworkInfo:
    """Return the teacher's description, or raise :class:`~trg_pyg.errors.InputError` where the two do not compare."""
    if teacher is None:
        raise InputError("this distiller needs a teacher: name one, or choose Vanilla")
    require(
        student.num_classes == teacher.num_classes,
        f"teacher has {teacher.num_classes} classes, student and data have {student.num_classes}: "
        "choose a teacher of the same data set",
    )
    return teacher


def check_weights(**weights: float) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` where the weight of a loss is negative."""
    for name, weight in weights.items():
        require(weight >= 0, f"{name}={weight}: the weight of a loss is 0 (off) or positive")


def _check_outputs(owner: str, outputs: Outputs, described: NetworkInfo, images: int) -> None:
    require(images > 0, "a batch without images: give at least 1")
    taps = len(described.features)
    expected = [
        ("logits", (described.num_classes, *described.pixels)),
        *((f"tap {tap.path}", tap.shape) for tap in described.features),
    ]
    require(
        len(outputs.features) >= taps,
        f"{len(outputs.features)} features of the {owner}, which was described with {taps}: "
        "describe and call it as one TappedModel",
    )
    # Methods count features from the last one backwards, so others may come before.
    found = [outputs.logits, *outputs.features[len(outputs.features) - taps :]]
    if outputs.embedding is not None and described.embedding is not None:
        expected, found = [*expected, ("embedding", (described.embedding,))], [*found, outputs.embedding]
    for (name, shape), x in zip(expected, found, strict=True):
        require(
            tuple(x.shape) == (images, *shape) and x.is_floating_point(),
            f"{name} of the {owner}: {tuple(x.shape)} of type {x.dtype} where {(images, *shape)} floating-point "
            "numbers are expected for these labels; describe the network again with the image size in use",
        )
