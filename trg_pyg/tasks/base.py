"""The contract of a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from trg_pyg.batch import Batch

if TYPE_CHECKING:  # data sets name their task, and processes that decode images need no networks
    from trg_pyg.models.taps import Outputs
    from trg_pyg.step import Step

Groups = Mapping[str, Sequence[int]]


class Task(ABC):
    """What a training and an evaluation have to know of data; a data set says which task it is for.

    Attributes:
        score: name of the metric that networks are compared by, as :meth:`metrics` has it and ``trg_pyg.metrics``
            lists it: the best epoch is chosen by it.
        item: what one of the things is called that labels belong to.
        answers_for: the part of an item that a network has to answer for, one by one: ``"pixel"``, with logits
            ``[B, channels, H, W]``, or ``"anchor"``, with logits ``[B, channels, anchors]``; empty where items have a
            class each.
    """

    score: ClassVar[str]
    item: ClassVar[str] = "image"
    answers_for: ClassVar[Literal["", "pixel", "anchor"]] = ""

    def width(self, classes: int) -> int:
        """Return how many logits, or channels of each pixel or anchor, a network has to give for so many classes."""
        return classes

    @abstractmethod
    def check_step(self, outputs: "Outputs", step: "Step") -> None:
        """Refuse labels of a step that are none of the outputs of the student.

        Raises:
            InputError: they are not.
        """

    @abstractmethod
    def supervised(self, outputs: "Outputs", step: "Step") -> dict[str, Tensor]:
        """Return the parts of the loss of the labels by name, differentiable scalars.

        Args:
            outputs: of the student, all rows that it was given.
            step: the labels, and which rows they belong to.
        """

    @abstractmethod
    def rows(self, outputs: "Outputs", step: "Step") -> Tensor:
        """Return the logits ``[items, classes]`` that logit distillation compares, of the labelled rows."""

    @abstractmethod
    def running(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return what is told of training batches by name, scalars that cost next to nothing.

        :attr:`score` is among them where it does.

        Args:
            outputs: of the student, of the labelled rows, detached.
            batch: what they are of.
        """

    @abstractmethod
    def check_set(self, outputs: "Outputs", targets: Tensor, groups: Groups) -> None:
        """Refuse labels that the outputs cannot be measured by, before they are.

        Args:
            outputs: of a first batch.
            targets: of all items that are to be evaluated.
            groups: classes of each group.

        Raises:
            InputError: they cannot.
        """

    @abstractmethod
    def measure(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return what :meth:`metrics` needs of each item, by name, ``[b, ...]``."""

    @abstractmethod
    def metrics(self, measured: Mapping[str, Tensor], targets: Tensor, groups: Groups) -> dict[str, float]:
        """Return the metrics by name, of all items of an evaluation; ``loss`` among them, finite where the outputs are.

        Args:
            measured: what :meth:`measure` gave, of all batches in their order.
            targets: their labels.
            groups: classes that the score is reported of too, by name.
        """
