"""Relational representation distillation."""

from typing import Any

from torch import Tensor

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.divergences.queue import VectorQueue, queue_cross_entropy
from trg_pyg.errors import check_positive
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.derived import Embedded, UnitLength
from trg_pyg.nodes.images import Instances
from trg_pyg.step import Step


class RRD(TermDistiller):
    r"""How like each image is to those of the last batches (Giakoumoglou and Stathaki, arXiv 2407.12073).

    Nodes: images, in a unit-length linear embedding of each network. Edges: from each image of the batch to the latest
    teacher embeddings, the batch's own ones included. Relation: cosine, softmax over the edges of an image, at a
    temperature for each network. Divergence: cross-entropy, see
    :func:`~trg_pyg.divergences.queue.queue_cross_entropy`.

    Options are those with which the public code runs. Its help names the temperatures so too; the docstring of its loss
    exchanges them. The teacher's is the lower one: its distribution is sharper than the student's. Its embedding is a
    random map that never learns, as in the public code, where no gradient reaches it. Ours: the queue is empty at
    first, where the public code has random vectors.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the term.
        dim: width of the embeddings and of the queue.
        queue: embeddings that it holds, at least as many as a batch has images.
        student_temperature: of the student's similarities.
        teacher_temperature: of the teacher's.
        **options: ce_weight, kd_weight and tau of TermDistiller; published with kd_weight 0, and 1 as RRD+KD.

    Raises:
        InputError: a weight is negative, a temperature is not positive, the networks have different numbers of classes,
            or a size is not positive; in a step, the batch has more images than the queue has places.
    """

    by_rows: bool = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        dim: int = 128,
        queue: int = 16384,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.02,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_positive("student_temperature", student_temperature)
        check_positive("teacher_temperature", teacher_temperature)
        images = Instances(student, check_networks(student, teacher))
        term = _Queued(images, VectorQueue(queue, dim), student_temperature, teacher_temperature)
        super().__init__(student, teacher, terms={"queue": (weight, term)}, **options)


class _Queued(Term):
    def __init__(
        self, images: Instances, queue: VectorQueue, student_temperature: float, teacher_temperature: float
    ) -> None:
        super().__init__()
        self.images = UnitLength(Embedded(images, queue.vectors.shape[1], learn_teacher=False))
        self.queue, self.temperatures = queue, (student_temperature, teacher_temperature)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the cross-entropy; in training mode, the queue has the batch's embeddings afterwards."""
        (s,), (t,) = self.images(student, teacher, step)
        return self.compare(s, t, *self.queue.push(t if step.share is None else step.share.gather(t)))

    def compare(self, student: Tensor, teacher: Tensor, vectors: Tensor, filled: Tensor) -> Tensor:
        """Return the cross-entropy of embeddings ``[B, d]``."""
        return queue_cross_entropy(student, teacher, vectors, filled, *self.temperatures)
