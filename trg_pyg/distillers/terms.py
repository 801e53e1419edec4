"""Cross-entropy, logit distillation and any other terms: the form that all methods share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from trg_pyg.distillers.base import Distiller, GraphSize, check_networks, check_weights
from trg_pyg.errors import require
from trg_pyg.graphs.token_graphs import TokenGraphs
from trg_pyg.losses.dkd import DKDLoss
from trg_pyg.losses.logit import LogitKD
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.image_classification import ImageClassification


class Term(nn.Module, ABC):
    """One part of an objective, from all that is known of a step.

    Attributes:
        compare: a term may have a method of this name, of tensors and without draws, which is most of what it computes
            and can be compiled as one graph; ``train.compile`` does so.
        one_class: whether it needs one class an image, as a loss whose ``forward`` takes ``target`` does anyway; a term
            that reads ``step.target`` itself says so.
    """

    one_class: ClassVar[bool] = False

    @abstractmethod
    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return a scalar; no gradient reaches the teacher."""

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make what depends on the training set, see :meth:`Distiller.bind`."""

    @property
    def num_tokens(self) -> int | None:
        """Tokens that the term takes of an image, see :attr:`Distiller.num_tokens`."""
        return None

    def graph_size(self, images: int) -> GraphSize | None:
        """Return the size of its graph of a batch, see :meth:`Distiller.graph_sizes`."""
        return None

    @property
    def token_graphs(self) -> TokenGraphs | None:
        """The graphs of tokens that the term compares, see :attr:`Distiller.token_graphs`."""
        return None

    def fitted(self, images: int) -> list[str]:
        """Say what of the options is less than was asked for, see :meth:`Distiller.fitted`."""
        return []


class TermDistiller(Distiller):
    r"""A method that adds weighted terms to cross-entropy and logit distillation.

    .. math:: L = w_{CE} L_{CE} + w_{KD} L_{KD} + \sum_i w_i L_i

    A method is a subclass whose constructor names its own options, makes its terms and hands the options that all
    methods have on to this one. Terms of weight 0 are not kept.

    Args:
        student: the student's classes and tapped features.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        kd_weight: weight of logit distillation; 0 leaves it out.
        tau: temperature of logit distillation.
        standardize: z-score each row of both networks' logits for logit distillation, see
            :func:`~trg_pyg.losses.logit.standardized`.
        decoupled: beta of :class:`~trg_pyg.losses.dkd.DKDLoss`, of alpha 1, which then is the logit distillation and
            needs one class an item; 0 leaves it the plain one.
        terms: weight and term by name.

    Raises:
        InputError: there is no teacher, it has other classes, a weight is negative, tau is not positive, or a term has
            the name of one of the first two parts or one that a module cannot have.
    """

    @abstractmethod
    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 1.0,
        kd_weight: float = 0.0,
        tau: float = 4.0,
        standardize: bool = False,
        decoupled: float = 0.0,
        terms: Mapping[str, tuple[float, Term]] = MappingProxyType({}),
    ) -> None:
        super().__init__(student, teacher)
        check_networks(student, teacher)
        check_weights(ce_weight=ce_weight, kd_weight=kd_weight, decoupled=decoupled)
        check_weights(**{name: weight for name, (weight, _) in terms.items()})
        taken = sorted(terms.keys() & {"ce", "kd"})
        require(not taken, f"a term named {' and '.join(taken)}: ce and kd are the parts of every method; rename it")
        unfit = sorted(name for name in terms if not name or "." in name or hasattr(nn.ModuleDict(), name))
        require(not unfit, f"a term named {' and '.join(map(repr, unfit))}: PyTorch names no module so; rename it")
        self.ce_weight, self.kd_weight = ce_weight, kd_weight
        self.logit = DKDLoss(1.0, decoupled, tau, standardize) if decoupled else LogitKD(tau, standardize)
        self.terms = nn.ModuleDict({name: term for name, (weight, term) in terms.items() if weight})
        self.term_weights = {name: weight for name, (weight, _) in terms.items() if weight}
        computed = (*self.terms.modules(), *([self.logit] if kd_weight else []))
        self.labels = "smooth" if any(map(_needs_one_class, computed)) else "mixed"

    def learn(self, task: Task) -> None:
        """Be told what the labels of the data are; those of decoupled distillation are one class an item."""
        super().learn(task)
        require(
            not (self.kd_weight and isinstance(self.logit, DKDLoss)) or isinstance(task, ImageClassification),
            f"{type(self).__name__}: decoupled logit distillation needs one class an item, and the data are for "
            f"{type(task).__name__}: leave it at 0",
        )

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Let every term see the training set's labels."""
        for term in self.terms.values():
            assert isinstance(term, Term)
            term.bind(targets, generator)

    @property
    def num_tokens(self) -> int | None:
        """Tokens of an image, of the term that takes most."""
        return max((term.num_tokens for term in self._terms() if term.num_tokens is not None), default=None)

    def graph_sizes(self, images: int) -> dict[str, GraphSize]:
        """Return the size of each term's graph by the name of the term."""
        sizes = {name: term.graph_size(images) for name, term in zip(self.terms, self._terms(), strict=True)}
        return {name: size for name, size in sizes.items() if size is not None}

    @property
    def token_graphs(self) -> TokenGraphs | None:
        """Those of the first term that has any."""
        return next((found for term in self._terms() if (found := term.token_graphs) is not None), None)

    def fitted(self, images: int) -> list[str]:
        """Say what of the terms' options is less than was asked for."""
        return list(dict.fromkeys(line for term in self._terms() for line in term.fitted(images)))

    def _terms(self) -> list[Term]:
        return [cast(Term, term) for term in self.terms.values()]

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the task's parts (``ce``), ``kd`` where its weight is positive, and the terms by name."""
        teacher = self.need(teacher)
        self.check_batch(student, teacher, step)
        parts = {name: (self.ce_weight, value) for name, value in self.supervised(student, step).items()}
        if self.kd_weight:
            rows = self.task.rows(student, step), self.task.rows(teacher, step)
            labels = (step.target,) if isinstance(self.logit, DKDLoss) else ()
            parts["kd"] = (self.kd_weight, self.logit(*rows, *labels))
        return parts | self.others(student, teacher, step)

    def supervised(self, student: Outputs, step: Step) -> dict[str, Tensor]:
        """Return the parts of the loss of the labels by name: those of the task."""
        return self.task.supervised(student, step)

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return ``{name: (weight, value)}`` of what is beside cross-entropy and logit distillation."""
        return {name: (self.weight_of(name, step), term(student, teacher, step)) for name, term in self.terms.items()}

    def weight_of(self, name: str, step: Step) -> float:
        """Return the weight of a term in a step; a method that warms up overrides it."""
        return self.term_weights[name]


def warmed_up(step: Step, warmup: float) -> float:
    """Return the share of its weight that a part has which grows linearly over the first ``warmup`` of a training."""
    return min(step.progress / warmup, 1.0) if warmup else 1.0


def check_warmup(warmup: float) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless a warm-up is a share of the training."""
    require(0 <= warmup <= 1, f"warmup={warmup}: it is a share of the training, from 0 to 1")


def _needs_one_class(module: nn.Module) -> bool:
    return getattr(module, "one_class", False) or "target" in signature(module.forward).parameters
