"""Projector ensembles."""

from typing import Any, ClassVar

from torch import Tensor

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.projector_ensemble import ProjectorEnsembleLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.images import Instances
from trg_pyg.step import Step


class PEFD(TermDistiller):
    """Embeddings behind a mean of projectors point where the teacher's do (Chen et al., arXiv 2210.15274).

    See :class:`~trg_pyg.losses.projector_ensemble.ProjectorEnsembleLoss`. Three projectors and the weight are those of
    the public code for CIFAR-100.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the difference.
        projectors: how many.
        **options: ce_weight, kd_weight and tau of TermDistiller.

    Raises:
        InputError: a weight is negative, tau or the number of projectors is not positive, or the networks have
            different numbers of classes.
    """

    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 25.0,
        projectors: int = 3,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        images = Instances(student, check_networks(student, teacher))
        loss = ProjectorEnsembleLoss(images.student_dim, images.teacher_dim, projectors)
        super().__init__(student, teacher, terms={"direction": (weight, _Ensemble(images, loss))}, **options)


class _Ensemble(Term):
    def __init__(self, images: Instances, loss: ProjectorEnsembleLoss) -> None:
        super().__init__()
        self.images, self.loss = images, loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the images' embeddings."""
        (s,), (t,) = self.images(student, teacher, step)
        return self.loss(s, t)
