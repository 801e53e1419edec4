"""Discriminative and consistent distillation."""

from typing import Any

from torch import Tensor

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.dcd import DCDLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.images import Instances
from trg_pyg.step import Step


class DCD(TermDistiller):
    """Each image finds its own among the teacher's of its batch, without a memory (Giakoumoglou and Stathaki, 2024).

    See :class:`~trg_pyg.losses.dcd.DCDLoss` (arXiv 2407.11802). Options are those of its public code; DCD+KD is the
    published variant with ``kd_weight`` 1.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the loss.
        alpha: weight of the consistency within it.
        dim: width of the embeddings.
        **options: ce_weight, kd_weight and tau of TermDistiller.

    Raises:
        InputError: a weight is negative, tau or a width is not positive, or the networks have different numbers of
            classes.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        alpha: float = 0.5,
        dim: int = 128,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        images = Instances(student, check_networks(student, teacher))
        term = _Contrast(images, DCDLoss(images.student_dim, images.teacher_dim, dim, alpha))
        super().__init__(student, teacher, terms={"contrast": (weight, term)}, **options)
        self.min_images = 2 if weight else 1


class _Contrast(Term):
    def __init__(self, images: Instances, loss: DCDLoss) -> None:
        super().__init__()
        self.images, self.loss = images, loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the images' embeddings."""
        (s,), (t,) = self.images(student, teacher, step)
        return self.loss(s, t)
