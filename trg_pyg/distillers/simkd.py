"""Distillation with the teacher's classifier."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from trg_pyg.batch import Batch
from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import InputError, require
from trg_pyg.models.networks import Networks, statistics_kept
from trg_pyg.models.reused import Projected, make_projector, widen
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs, TappedModel
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map, common_grid, plane_of, pool_to_grid
from trg_pyg.tokens.normalize import full_precision

# Of the largest logit: what reduced precision may change of them.
_ROUNDING = 0.05


class SimKD(TermDistiller):
    r"""The teacher's classifier on a projection of the student's last map (Chen et al., arXiv 2203.14001).

    .. math:: L = \mathrm{mean}\big( (\phi(F_S) - F_T)^2 \big)

    :math:`\phi` are convolutions of 1x1, 3x3 and 1x1 with batch norm and ReLU, of :math:`C_T / 2` channels in between.
    A finer map is averaged to the coarser grid. The student that is trained, evaluated and saved is larger than the one
    that was named: :math:`\phi` stays behind its last stage, and its classifier is a copy of the teacher's, which does
    not learn. Whoever loads its weights gets that network. Compare it by its cost, not by its name.

    Neither labels nor logits count by default, as published; :meth:`extend` and :meth:`meet` make the student.

    Args:
        student: the student's classes, classifier and last map.
        teacher: the teacher's; its classifier takes the mean over its last map.
        weight: weight of the difference.
        factor: of the teacher's channels to those in between.
        ce_weight: weight of the cross-entropy of the projected student.
        kd_weight: weight of logit distillation of the projected student.
        tau: temperature of logit distillation.
        **options: standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, one has
            no tap, ``factor`` is not from 1 to the teacher's channels, or the teacher's classifier takes another width
            than its last map has; when training starts, the student's last tap is no convolutional map or what is
            behind it depends on its channels, a classifier is not one linear layer, or that of the teacher takes
            anything but the mean over its last map.
    """

    taps: ClassVar[Taps] = "last"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        factor: int = 2,
        ce_weight: float = 0.0,
        kd_weight: float = 0.0,
        tau: float = 4.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        s, t = at_stage(student, -1, "student"), at_stage(check_networks(student, teacher), -1, "teacher")
        require(1 <= factor <= t.channels, f"factor={factor}: choose from 1 to the teacher's {t.channels} channels")
        width = None if teacher is None else teacher.embedding
        require(
            width in (None, t.channels),
            f"the teacher's classifier takes {width} values, and its last tap {t.path} has {t.channels} channels: tap "
            "the module before the pooling (teacher.taps)",
        )
        # The student's classifier will take an embedding of the teacher's width.
        super().__init__(
            replace(student, embedding=None),
            teacher,
            ce_weight=ce_weight,
            kd_weight=kd_weight,
            tau=tau,
            terms={"projected": (weight, _Projection(s, t, factor))},
            **options,
        )

    def extend(self, student: TappedModel) -> None:
        """Put the projector behind the student's last tap, and let its classifier take the teacher's channels."""
        for term in self.terms.values():
            assert isinstance(term, _Projection)
            term.extend(student)

    def meet(
        self,
        networks: Networks,
        batches: Callable[[], Iterable[Batch]],
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Copy the teacher's classifier into the student."""
        for term in self.terms.values():
            assert isinstance(term, _Projection)
            term.copy_classifier(networks, next(iter(batches())).inputs[:16])
        return {}


class _Projection(Term):
    def __init__(self, student: FeatureInfo, teacher: FeatureInfo, factor: int) -> None:
        super().__init__()
        self.student, self.teacher, self.grid = student, teacher, common_grid(student.grid, teacher.grid)
        self.project = make_projector(student.channels, teacher.channels // factor, teacher.channels)
        self.extended = False

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the mean squared difference of the projected map and the teacher's."""
        own = pool_to_grid(full_precision(as_map(student.features[-1], self.student)), self.grid)
        goal = pool_to_grid(full_precision(as_map(teacher.features[-1].detach(), self.teacher)), self.grid)
        with torch.autocast(own.device.type, enabled=False):
            if not self.extended:
                return mse_loss(self.project(own), goal)
            # The student has kept the statistics of this very batch in its own pass.
            with statistics_kept(self.project):
                return mse_loss(self.project(own), goal)

    def extend(self, student: TappedModel) -> None:
        name = type(student.model).__name__
        require(
            self.student.layout == "map" and bool(student.taps),
            f"SimKD: the last tap {self.student.path} of {name} is no convolutional map; it projects such maps only",
        )
        classifier = _linear(student.classifier and student.model.get_submodule(student.classifier), f"student {name}")
        assert student.taps
        path = student.taps[-1]
        student.model.set_submodule(
            path, Projected(student.model.get_submodule(path), self.project, plane_of(self.grid))
        )
        widen(classifier, self.teacher.channels)
        was = student.training
        # Says what is behind the map where that does not take other channels.
        student.eval()
        with torch.no_grad():
            student.behind(classifier.weight.new_zeros(1, self.teacher.channels, *self.grid), tap=-1)
        student.train(was)
        self.extended = True

    @torch.no_grad()
    def copy_classifier(self, networks: Networks, images: Tensor) -> None:
        theirs, ours = (_linear(networks.classifier(owner), owner) for owner in ("teacher", "student"))
        heard = networks.teacher(images)
        pooled = full_precision(as_map(heard.features[-1], self.teacher)).mean((2, 3))
        answers = theirs(pooled.to(theirs.weight.dtype)).to(heard.logits.dtype)
        require(
            bool((answers - heard.logits).abs().max() <= _ROUNDING * heard.logits.abs().max()),
            f"SimKD: the teacher's classifier takes something else than the mean over its last tap, "
            f"{self.teacher.path}: tap the module before the pooling (teacher.taps)",
        )
        ours.weight.copy_(theirs.weight)
        if theirs.bias is not None:
            ours.bias.copy_(theirs.bias)


def _linear(layer: object, owner: str) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise InputError(f"SimKD: the classifier of the {owner} is {type(layer).__name__}, not one linear layer")
    return layer
