"""Adaptive explicit knowledge transfer."""

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller, check_warmup, warmed_up
from trg_pyg.errors import InputError, require
from trg_pyg.losses.aekt import Explicit, ExplicitKnowledgeLoss
from trg_pyg.models.taps import NetworkInfo, Outputs, TappedModel
from trg_pyg.step import Step


class AEKT(TermDistiller):
    r"""Explicit and implicit knowledge, classified behind what is distilled; after Park and Lee (arXiv 2409.01679).

    .. math:: L = \mathrm{CE}(A z + c, y) + w \, L_{AEKT}(z, z^T, y)

    z are the student's logits, which are distilled by :class:`~trg_pyg.losses.aekt.ExplicitKnowledgeLoss`. A linear
    layer behind them, which begins as the identity, gives the logits that are classified. It is folded into the
    student's classifier where the student is saved, whose architecture stays. The paper has the layer and the idea of
    the loss; their forms are ours.

    Args:
        student: the student's classes and embedding.
        teacher: the teacher's.
        weight: weight of the distillation after the warm-up.
        alpha: weight of the explicit part.
        beta: weight of the implicit part; that of DKD for the same pair of networks.
        tau: temperature of the logits.
        explicit: form of the explicit part, see the loss.
        ratio: weigh the explicit part by the ratio of teacher and student.
        most: largest ratio.
        serial: add the layer, when :meth:`extend` is called; False classifies what is distilled.
        warmup: share of the training in which ``weight`` grows from 0.
        **options: ce_weight, kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: as :class:`~trg_pyg.losses.aekt.ExplicitKnowledgeLoss`, a weight is negative, ``warmup`` is not in
            [0, 1], the networks have different numbers of classes, or ``serial`` is set and the student's classifier
            is not known or not linear.
    """

    after: ClassVar[str] = "Park and Lee, arXiv 2409.01679"
    taps: ClassVar[Taps] = "none"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        alpha: float = 1.0,
        beta: float = 2.0,
        tau: float = 4.0,
        explicit: Explicit = "binary",
        ratio: bool = True,
        most: float = 10.0,
        serial: bool = True,
        warmup: float = 1 / 12,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_warmup(warmup)
        require(
            not serial or student.embedding is not None,
            "serial: the student's classifier is not known; declare classifier_path in its class, or set serial false",
        )
        term = _Knowledge(ExplicitKnowledgeLoss(alpha, beta, tau, explicit, ratio, most))
        super().__init__(student, teacher, tau=tau, terms={"aekt": (weight, term)}, **options)
        self.serial, self.warmup = serial, warmup

    def weight_of(self, name: str, step: Step) -> float:
        """Return the weight, which grows linearly during the warm-up."""
        return warmed_up(step, self.warmup) * super().weight_of(name, step)

    def extend(self, student: TappedModel) -> None:
        """Put the layer behind the student's classifier."""
        if not self.serial:
            return
        path = student.classifier
        layer = None if path is None else student.model.get_submodule(path)
        if path is None or not isinstance(layer, nn.Linear):
            raise InputError(
                f"serial: the classifier of {type(student.model).__name__} is {type(layer).__name__}, not one linear "
                "layer; set serial false"
            )
        student.model.set_submodule(path, _Serial(layer))
        for term in self.terms.values():
            assert isinstance(term, _Knowledge)
            term.extended = True

    def deploy(self, model: nn.Module) -> nn.Module:
        """Return a copy of the network whose classifier has the layer folded in."""
        layers = [(path, module) for path, module in model.named_modules() if isinstance(module, _Serial)]
        if not layers:
            return model
        model = copy.deepcopy(model)
        for path, layer in layers:
            model.set_submodule(path, layer.folded())
        return model


class _Knowledge(Term):
    def __init__(self, loss: ExplicitKnowledgeLoss) -> None:
        super().__init__()
        self.loss, self.extended = loss, False

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits before the layer."""
        logits = student.logits
        if self.extended:
            layer = step.need_networks("AEKT").classifier("student")
            assert isinstance(layer, _Serial | nn.Linear)
            assert student.embedding is not None
            logits = (layer.linear if isinstance(layer, _Serial) else layer)(student.embedding)
        return self.loss(logits, teacher.logits, step.target)


class _Serial(nn.Module):
    """A linear classifier and a layer from classes to classes behind it, which begins as the identity.

    The layer is kept as its difference from the identity, so that weight decay pulls it there, not to 0.

    Args:
        linear: the classifier, ``[B, d]`` to ``[B, classes]``.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        classes = linear.out_features
        self.linear = linear
        self.difference = nn.Parameter(linear.weight.new_zeros(classes, classes))
        self.bias = nn.Parameter(linear.weight.new_zeros(classes))

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the logits behind the layer, ``[B, classes]``."""
        logits = self.linear(embedding)
        behind: Tensor = logits + logits @ self.difference.T + self.bias
        return behind

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """Return one linear classifier that gives the same."""
        linear = nn.Linear(self.linear.in_features, self.linear.out_features, device=self.bias.device)
        whole = torch.eye(len(self.bias), dtype=torch.float64, device="cpu") + self.difference.cpu().double()
        bias = 0 if self.linear.bias is None else whole @ self.linear.bias.cpu().double()
        linear.weight.copy_(whole @ self.linear.weight.cpu().double())
        linear.bias.copy_(bias + self.bias.cpu().double())
        return linear
