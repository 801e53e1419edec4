"""Wasserstein distillation of logits."""

import math
from typing import Any, ClassVar

from torch import Tensor, nn

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.nkd import Normalised
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import InputError, require
from trg_pyg.losses.nkd import NKDLoss
from trg_pyg.losses.wkd import WKDLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step


class WKD(TermDistiller):
    """WKD-L: the label's probability, and the transport of the other classes' (Lv et al., arXiv 2412.08139).

    Moving probability between classes costs as much as the rows of the teacher's classifier differ, one of the
    public code's choices. The published figures are of another, class similarities (CKA) that are read from a file.

    Args:
        student: the student's classes.
        teacher: the teacher's, whose classifier is one linear layer.
        label_weight: weight of the teacher's cross-entropy on the label, as in NKD.
        transport_weight: weight of :class:`~trg_pyg.losses.wkd.WKDLoss`.
        tau: temperature of the transport, and of logit distillation.
        smoothness: of the transport.
        iterations: of the transport.
        fade: share of the training from which the weight of the transport falls to 0 along a cosine; 1 keeps it.
            Published: 150 of 240 epochs.
        **options: ce_weight, kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: an option is impossible, or the networks have different numbers of classes; in a step, the
            teacher's classifier is not one linear layer.
    """

    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        label_weight: float = 1.0,
        transport_weight: float = 600.0,
        tau: float = 8.0,
        smoothness: float = 0.05,
        iterations: int = 10,
        fade: float = 0.625,
        **options: Any,
    ) -> None:
        check_weights(label_weight=label_weight, transport_weight=transport_weight)
        require(0 <= fade <= 1, f"fade={fade}: it is a share of the training, from 0 to 1")
        transport = _Transport(WKDLoss(tau, smoothness, iterations))
        terms: dict[str, tuple[float, Term]] = {
            "label": (label_weight, Normalised(NKDLoss(gamma=0.0))),
            "transport": (transport_weight, transport),
        }
        super().__init__(student, teacher, tau=tau, terms=terms, **options)
        self.fade = fade

    def weight_of(self, name: str, step: Step) -> float:
        """Return the weight; that of the transport falls at the end."""
        weight = super().weight_of(name, step)
        if name == "label" or step.progress <= self.fade:
            return weight
        return weight * (1 + math.cos(math.pi * (step.progress - self.fade) / (1 - self.fade))) / 2


class _Transport(Term):
    def __init__(self, loss: WKDLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits, by the teacher's classifier."""
        layer = step.need_networks("WKD").classifier("teacher")
        if not isinstance(layer, nn.Linear):
            raise InputError(f"WKD: the classifier of the teacher is {type(layer).__name__}, not one linear layer")
        return self.loss(student.logits, teacher.logits, step.target, layer.weight)
