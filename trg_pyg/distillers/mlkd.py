"""Multi-level logit distillation."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.strong_view import check_magnitude, strong_view
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import require
from trg_pyg.losses.gram import ProbabilityGram
from trg_pyg.losses.logit import LogitKD
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step

Taus = tuple[float, ...]


class MLKD(TermDistiller):
    r"""Logits of images, of batches and of classes at several temperatures (Jin et al., CVPR 2023).

    Both networks see every image twice: as the loader gives it, and that changed by RandAugment, the strong view.

    .. math:: L = w_{CE} \big( \mathrm{CE}(z) + \mathrm{CE}(\tilde z) \big) + w \sum_\tau \Big[
        \tfrac{1}{2} L_{KD, \tau}(z) + L_{KD, \tau}(\tilde z)
        + \tfrac{1}{2} L_{images, \tau}(z) + \tfrac{1}{2} L_{classes, \tau}(z) \Big]

    z are the logits of the image, :math:`\tilde z` those of its strong view; the last two are
    :class:`~trg_pyg.losses.gram.ProbabilityGram`. The public code multiplies what is of z by the mean of a mask of the
    images, or classes, of which the teacher is less sure than of the median one: that is the half here. Weights are its
    own.

    It differs from that code in the strong view: there it is a crop of its own, with magnitudes drawn at random and a
    grey box; here it is made of the same crop, by torchvision's RandAugment of two operations. At temperatures 2 and 6
    the code takes z in the place of :math:`\tilde z`, which is not done here.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels, of both views.
        weight: weight of the distillation.
        taus: temperatures.
        magnitude: of RandAugment, in [0, 30].
        standardize: z-score each row of both networks' logits, see :func:`~trg_pyg.losses.logit.standardized`: for the
            divergences, of ``kd_weight`` too.
        **options: kd_weight and tau of TermDistiller, which are of z.

    Raises:
        InputError: a weight is negative, a temperature is not positive or there is none, the magnitude is not in
            [0, 30], or the networks have different numbers of classes; in a step, the images are not grey or of three
            colours.
    """

    taps: ClassVar[Taps] = "none"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 0.1,
        weight: float = 0.9,
        taus: Taus = (2.0, 3.0, 4.0, 5.0, 6.0),
        magnitude: int = 10,
        standardize: bool = False,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_magnitude(magnitude)
        terms: dict[str, tuple[float, Term]] = {
            "instances": (weight, _Instances(taus, standardize)),
            "images": (weight, _Weak(ProbabilityGram("images", taus))),
            "classes": (weight, _Weak(ProbabilityGram("classes", taus))),
        }
        super().__init__(student, teacher, ce_weight=ce_weight, standardize=standardize, terms=terms, **options)
        self.magnitude = magnitude

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the images and their strong views, which depend on the step and each image's position."""
        return [images, strong_view(images, self.magnitude, step, "MLKD")]

    def supervised(self, student: Outputs, step: Step) -> dict[str, Tensor]:
        """Return the task's parts, each the sum over both views."""
        alone = replace(step, rows=None)
        weak, strong = (self.task.supervised(Outputs(view, ()), alone) for view in _both(student, step))
        return {name: weak[name] + strong[name] for name in weak}


def _both(outputs: Outputs, step: Step) -> tuple[Tensor, Tensor]:
    """The logits of the images and of their strong views."""
    views = step.split(outputs.logits)
    require(len(views) == 2, "MLKD compares two views of each image: give the networks both, and Step(rows=...)")
    return views[0], views[1]


class _Instances(Term):
    def __init__(self, taus: Taus, standardize: bool) -> None:
        super().__init__()
        self.losses = nn.ModuleList(LogitKD(tau, standardize) for tau in taus)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the divergences of both views."""
        (weak_s, strong_s), (weak_t, strong_t) = _both(student, step), _both(teacher, step)
        return torch.stack([loss(weak_s, weak_t) / 2 + loss(strong_s, strong_t) for loss in self.losses]).sum()


class _Weak(Term):
    def __init__(self, loss: ProbabilityGram) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return half of the loss of the images as they are."""
        return self.loss(step.labelled(student.logits), step.labelled(teacher.logits)) / 2
