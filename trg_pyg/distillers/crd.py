"""Contrastive representation distillation."""

from typing import Any, Literal

import torch
from torch import Tensor

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.losses.crd import CRDLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.images import Instances
from trg_pyg.step import Step


class CRD(TermDistiller):
    """Each image against memories of all others, by noise contrast (Tian et al., arXiv 1910.10699).

    Not relational, but the reference to beat. Defaults are those of its public code.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the contrast.
        dim: width of the embeddings and of the memory.
        negatives: images of other classes for each image, or auto: 16384, or as many as the training set has.
        temperature: of the contrast.
        momentum: share of its old embedding that an image keeps in memory.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes; when
            training starts, the training set has fewer images of other classes than ``negatives``; in a step, sample
            positions are missing.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 0.8,
        dim: int = 128,
        negatives: int | Literal["auto"] = "auto",
        temperature: float = 0.07,
        momentum: float = 0.5,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        images = Instances(student, check_networks(student, teacher))
        loss = CRDLoss(images.student_dim, images.teacher_dim, dim, negatives, temperature, momentum)
        super().__init__(student, teacher, terms={"contrast": (weight, _Contrast(images, loss))}, **options)


class _Contrast(Term):
    def __init__(self, images: Instances, loss: CRDLoss) -> None:
        super().__init__()
        self.images, self.loss = images, loss

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the memories."""
        self.loss.bind(targets, generator)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the images' embeddings."""
        s, t = self.images(student, teacher, step)
        return self.loss(s[0], t[0], step.target, step.index, step.generator)
