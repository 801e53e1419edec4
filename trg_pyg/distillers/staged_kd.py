"""Substages of a student learn one after another."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, mse_loss, one_hot
from torch.nn.modules.batchnorm import _BatchNorm

from trg_pyg.batch import Inputs
from trg_pyg.distillers.base import Distiller, Taps, check_networks, check_weights
from trg_pyg.distillers.map_term import stage_pairs
from trg_pyg.errors import InputError, check_positive, require
from trg_pyg.models.taps import NetworkInfo, Outputs, TappedModel
from trg_pyg.nn.projection import Projection
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map
from trg_pyg.tokens.normalize import full_precision, l2_normalize

# Of a running mean, what stays of it in a step.
_KEPT = 0.9
# Temperature of the softmax over substages.
_SHARPNESS = 0.1
# Of features whose mean square is 1: no variance counts as smaller.
_LEAST_VARIANCE = 1e-3


class StagedKD(Distiller):
    r"""Substages with heads of their own, trained in a cascade, after Wang and Tang (arXiv 2307.05201); form ours.

    The paper's abstract names the parts and gives no equation; each of them can be turned off. Both networks have S
    substages, which end at their last S taps. :math:`g^s` ``[B, c_s]`` are features pooled over time and place, and
    :math:`z^s` the logits of a linear head on the student's; :math:`z^S` are its own.

    .. math:: L = \sum_{s \le a} \lambda_s \big( w_{CE}\, \mathrm{CE}(z^s, y') + w_{KD}\, \tau^2\,
        \mathrm{KL}(p^T \Vert p^{S,s}) + w_c \sum_{j \le s} \rho_{js} c_j \big)

    * Correlation: :math:`c_s = 1 - r(G_S^s, G_T^s)`, with r the Pearson correlation over all pairs of different items
      of a batch, and G their cosine similarities by :math:`g^s`.
    * Combination: :math:`\rho_{js} = \mathrm{softmax}_{j \le s}(r(G_S^j, G_T^s) / 0.1)`, without gradient.
    * Balance: :math:`\lambda_s = a\, \mathrm{softmax}_s(-D_s)`, where :math:`D_s` is the running mean (0.9) of
      :math:`d / (1 + d)`, and d the symmetric KL divergence, a channel, between Gaussians fitted to :math:`g_T^s` and
      to what a linear map makes of :math:`g_S^s`. The map learns by regression, the part ``fit``, and nothing else does
      of it. (The d of a substage that has learnt nothing may be hundreds, and alone would keep its weight at 0.)
    * Pseudo-labels: :math:`y' = (1 - m) y + m q` with m rising to ``pseudo`` over the training; q is the running mean
      (0.9) of each item of what the teacher and the active heads say, at first the label. Of unlabelled items
      (``data.labelled`` or ``data.unlabelled``) :math:`y' = q`, where the largest of q is above ``confidence``, and
      their mean is added; the other terms are of all items.
    * Cascade: :math:`a = 1, 2, \ldots` for the share ``cascade`` of the training each, then S. What lies behind
      substage a does not learn, statistics of batch norms included, and what lies before it learns at ``earlier_rate``
      of the rate, until all learn alike in the last phase. Each phase begins with a new optimiser and schedule.

    The rate of earlier substages is that of their gradients; weight decay is not lowered. At 0 they stay as they are.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        stages: S, >= 1; fewer where a network has fewer taps.
        ce_weight: weight of the cross-entropy.
        kd_weight: weight of logit distillation.
        tau: temperature of logit distillation.
        correlation_weight: weight of the correlations.
        combination: False compares each substage with its own one alone.
        balance: False gives all substages the weight 1.
        pseudo: m at the end of the training, in [0, 1]; 0 leaves pseudo-labels out.
        confidence: in [0, 1], above which the pseudo-label of an unlabelled item counts.
        unlabelled: take unlabelled items where there are some.
        cascade: share of the training of each phase but the last, >= 0; 0 trains all substages from the start.
        earlier_rate: of the learning rate, in [0, 1].

    Raises:
        InputError: a number is out of range, a network has no tap, there is no teacher, or it has other classes.
    """

    taps: ClassVar[Taps] = "stages"
    after: ClassVar[str] = "Wang and Tang, arXiv 2307.05201"
    clips: ClassVar[bool] = True
    pools: tuple[str, ...] = ("unlabelled",)
    min_images = 3

    memory: Tensor
    guesses: Tensor
    distance: Tensor

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        stages: int = 3,
        ce_weight: float = 1.0,
        kd_weight: float = 1.0,
        tau: float = 4.0,
        correlation_weight: float = 1.0,
        combination: bool = True,
        balance: bool = True,
        pseudo: float = 0.3,
        confidence: float = 0.8,
        unlabelled: bool = True,
        cascade: float = 0.15,
        earlier_rate: float = 0.1,
    ) -> None:
        super().__init__(student, teacher)
        teacher = check_networks(student, teacher)
        check_weights(ce_weight=ce_weight, kd_weight=kd_weight, correlation_weight=correlation_weight)
        check_positive("tau", tau)
        require(stages >= 1, f"stages={stages}: a network has 1 or more")
        for name, share in (("pseudo", pseudo), ("confidence", confidence), ("earlier_rate", earlier_rate)):
            require(0 <= share <= 1, f"{name}={share}: it is a share, from 0 to 1")
        self.pairs = stage_pairs(student, teacher)[-stages:]
        self.asked, count = stages, len(self.pairs)
        require(
            cascade >= 0 and cascade * (count - 1) < 1,
            f"cascade={cascade}: {count - 1} phases of that share leave nothing of the training for the last one",
        )
        self.weights = {"ce": ce_weight, "kd": kd_weight, "correlation": correlation_weight}
        self.tau, self.combination, self.balance = tau, combination, balance and count > 1
        self.pseudo, self.confidence, self.cascade, self.earlier_rate = pseudo, confidence, cascade, earlier_rate
        if not unlabelled:
            self.pools = ()
        classes = student.num_classes
        self.heads = nn.ModuleList(Projection(s.channels, classes) for _, s, _ in self.pairs[:-1])
        self.maps = nn.ModuleList(Projection(s.channels, t.channels) for _, s, t in self.pairs if self.balance)
        self.register_buffer("distance", torch.zeros(count))
        self.register_buffer("memory", torch.zeros(0, classes))
        self.register_buffer("guesses", torch.zeros(0, classes))
        self._active = count
        # Batch norms of each substage of the student, and of what lies behind; none before it is known.
        self._norms: list[list[nn.Module]] = []

    @property
    def restarts(self) -> tuple[float, ...]:
        """The beginning of each phase but the first."""
        return tuple(self.cascade * (phase + 1) for phase in range(len(self.pairs) - 1)) if self.cascade else ()

    def active(self, progress: float) -> int:
        """Return a, how many substages learn at a place of the training in [0, 1]."""
        return 1 + sum(progress >= share for share in self.restarts) if self.cascade else len(self.pairs)

    def fitted(self, images: int) -> list[str]:
        """Say how many substages there are, if a network has fewer taps than were asked for."""
        count = len(self.pairs)
        return [f"{count} substage{'s' * (count > 1)} ({self.asked} asked for)"] if count < self.asked else []

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the pseudo-labels: of each training item its label, of an unlabelled one nothing yet."""
        classes = self.guesses.shape[1]
        unlabelled = self.pool_sizes.get("unlabelled", 0) if self.pools else 0
        self.memory = one_hot(targets, classes).float().to(self.memory.device)
        self.guesses = torch.zeros(unlabelled, classes, device=self.guesses.device)

    def extend(self, student: TappedModel) -> None:
        """Learn where the substages of the student end; its network stays as it is."""
        if not self.cascade:
            return
        parts, behind = student.parts(), len(self.pairs) - 1
        # Substage 1 begins at the input, also where there are more taps than substages.
        first = [module for part in parts[: len(parts) - 1 - behind] for module in part]
        groups = [first, *parts[len(parts) - 1 - behind :]]
        self._norms = [[module for module in group if isinstance(module, _BatchNorm)] for group in groups]
        for number, path in enumerate((student.taps or ())[-len(self.pairs) : -1], 1):
            student.model.get_submodule(path).register_forward_hook(self._border(number))

    def _border(self, number: int) -> Any:
        """Return a hook that lets the gradient of what lies behind a substage pass at the rate of the phase."""

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if self._active != number + 1 or self._active == len(self.pairs):
                return None
            if isinstance(output, Tensor):
                return _at_rate(output, self.earlier_rate)
            return type(output)([_at_rate(output[0], self.earlier_rate), *output[1:]])

        return hook

    def learns_beside(self) -> bool:
        """Always: pseudo-labels are of one process, and each step says which substages learn."""
        return True

    def before(self, images: Inputs, step: Step) -> None:
        """Go to the phase of the step."""
        self._active = self.active(step.progress)
        for learnt in (self.heads, self.maps):
            for number, module in enumerate(learnt, 1):
                module.requires_grad_(number <= self._active)
        self.train(self.training)

    def train(self, mode: bool = True) -> "StagedKD":
        """Keep batch norms of what does not learn in evaluation mode, so that their statistics stay."""
        super().train(mode)
        if self._active < len(self.pairs):
            earlier = self._active - 1 if self.earlier_rate == 0 else 0
            for norm in chain(*self._norms[:earlier], *self._norms[self._active :]):
                norm.eval()
        return self

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the labelled images or clips and, where there are any, unlabelled ones."""
        return [images, *(step.pool[name].inputs for name in self.pools if name in step.pool)]

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts ``ce``, ``kd`` and ``correlation``, those of weight 0 left out, and ``fit``."""
        teacher = self.need(teacher)
        self.check_batch(student, teacher, step)
        active = self.active(step.progress)
        ours = [self._pooled(student, number, active) for number in range(active)]
        theirs = [
            full_precision(as_map(teacher.features[at].detach(), t).flatten(2)).mean(2) for at, _, t in self.pairs
        ]
        logits = [head(g) for head, g in zip(self.heads, ours, strict=False)]
        if active == len(self.pairs):
            logits.append(full_precision(student.logits))
        goal = full_precision(teacher.logits.detach())
        weights, fit = self._balanced(ours, theirs, active)
        found = {}
        if self.weights["ce"]:
            found["ce"] = self._cross_entropies(logits, goal, step)
        if self.weights["kd"]:
            found["kd"] = torch.stack([_divergence(each, goal, self.tau) for each in logits])
        if self.weights["correlation"]:
            found["correlation"] = self._correlations(ours, theirs)
        parts = {name: (self.weights[name], (weights * values).sum()) for name, values in found.items()}
        return parts if fit is None else parts | {"fit": (1.0, fit)}

    def _pooled(self, student: Outputs, number: int, active: int) -> Tensor:
        """Return the student's g of a substage, counted from 0, as it learns in this phase."""
        at, info, _ = self.pairs[number]
        g = full_precision(as_map(student.features[at], info).flatten(2)).mean(2)
        return _at_rate(g, self.earlier_rate) if number + 1 < active < len(self.pairs) else g

    def _balanced(self, ours: Sequence[Tensor], theirs: Sequence[Tensor], active: int) -> tuple[Tensor, Tensor | None]:
        """Return the weights of the active substages, ``[a]``, and the loss of the maps that they come from."""
        if not self.balance:
            return torch.ones(active, device=self.distance.device), None
        losses, distances = [], []
        for learnt, s, t in zip(self.maps, ours, theirs, strict=False):
            mapped, wanted = learnt(_of_size_one(s.detach())), _of_size_one(t)
            losses.append(mse_loss(mapped, wanted))
            distances.append(_distance(mapped.detach(), wanted))
        if self.training:
            with torch.no_grad():
                self.distance[:active] = torch.lerp(
                    torch.stack(distances).to(self.distance), self.distance[:active], _KEPT
                )
        fit = torch.stack(losses).sum()
        return active * (-self.distance[:active].to(fit)).softmax(0), fit

    def _correlations(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """Return for each active substage the sum over earlier ones and itself of rho c, ``[a]``."""
        own = torch.stack([_similarities(g) for g in ours])
        wanted = torch.stack([_similarities(g) for g in theirs[: len(ours)]])
        r = own @ wanted.T  # of substage j of the student, by row, with s of the teacher
        if not self.combination:
            return 1 - r.diagonal()
        later = torch.ones_like(r).tril(-1).bool()
        rho = (r.detach() / _SHARPNESS).masked_fill(later, -torch.inf).softmax(0)
        return rho.T @ (1 - r.diagonal())

    def _cross_entropies(self, logits: Sequence[Tensor], goal: Tensor, step: Step) -> Tensor:
        """Return the cross-entropy of each active substage, ``[a]``."""
        logs = torch.stack([log_softmax(each, dim=1) for each in logits])
        # one_hot would wait for a GPU to look at the classes.
        truth = torch.zeros_like(logs[0, : len(step.target)]).scatter(1, step.target[:, None], 1.0)
        said = torch.cat([logs.detach().exp(), goal.softmax(1)[None]]).mean(0)
        if not self.pseudo:
            return -(truth * logs[:, : len(truth)]).sum(2).mean(1)
        labelled, *others = step.split(said)
        m = self.pseudo * step.progress
        if step.index is None or not len(self.memory):
            raise InputError(
                "StagedKD remembers what was said of each item: call bind with the labels of the training set, and "
                "give Step(index=...) their positions"
            )
        truth = torch.lerp(truth, self._remembered(self.memory, step.index, labelled), m)
        found = -(truth * logs[:, : len(truth)]).sum(2).mean(1)
        if others:
            guess = self._remembered(self.guesses, step.pool["unlabelled"].index, others[0])
            sure = (guess.amax(1) > self.confidence).to(logs)
            found = found - ((guess * logs[:, len(truth) :]).sum(2) * sure).mean(1)
        return found

    @torch.no_grad()
    def _remembered(self, memory: Tensor, index: Tensor, said: Tensor) -> Tensor:
        """Return the pseudo-labels of items ``[b, classes]``, with what is said of them now, which is kept."""
        # Several writes to one row end in any order on a GPU; they all write the same.
        first = (index.unsqueeze(1) == index).int().argmax(1)
        before, now = memory[index].to(said), said[first]
        known = before.sum(1, keepdim=True) > 0
        moved = torch.where(known, torch.lerp(now, before, _KEPT), now)
        if self.training:
            memory[index] = moved.to(memory)
        return moved


def _at_rate(x: Tensor, rate: float) -> Tensor:
    """Return the same, with so much of its gradient."""
    still = x.detach()
    return still if rate == 0 else still + rate * (x - still)


def _similarities(g: Tensor) -> Tensor:
    """Return cosine similarities of all pairs of rows, centred and of length 1, so that products are correlations."""
    unit = l2_normalize(g)
    first, second = torch.triu_indices(len(g), len(g), 1, device=g.device)
    pairs = (unit @ unit.T)[first, second]
    return l2_normalize(pairs - pairs.mean())


def _of_size_one(x: Tensor) -> Tensor:
    """Return the same with a mean square of 1; zeros stay."""
    size = x.square().mean().sqrt()
    return x / torch.where(size > 0, size, 1.0)


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return d / (1 + d) of the symmetric KL divergence d of Gaussians fitted to both, the mean over columns."""
    (v, w), (a, b) = (each.var(0, correction=0) for each in (ours, theirs)), (each.mean(0) for each in (ours, theirs))
    v, w = v + _LEAST_VARIANCE, w + _LEAST_VARIANCE
    # Rounding may leave it below 0.
    d = (0.5 * (v / w + w / v + (a - b).square() * (1 / v + 1 / w)) - 1).mean().clamp(min=0)
    return d / (1 + d)


def _divergence(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    ours, theirs = (log_softmax(each / tau, dim=1) for each in (student, teacher))
    return tau**2 * (theirs.exp() * (theirs - ours)).sum(1).mean()
