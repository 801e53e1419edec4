"""Hints whose weights are learnt, image by image."""

import math
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from trg_pyg.batch import Inputs
from trg_pyg.distillers.base import Distiller, Taps, check_networks, check_weights
from trg_pyg.errors import InputError, check_choice, check_positive, require
from trg_pyg.losses.hint import HintLoss
from trg_pyg.models.networks import statistics_kept
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map, common_grid, plane_of, pool_to_grid
from trg_pyg.tokens.normalize import full_precision

Weighing = Literal["each", "mean", "equal"]
Virtual = Literal["network", "last_stage", "head"]

# Running means of the hints, of the weights of an image, and Adam's.
_MEAN, _HISTORY = 0.99, 0.9
_BETAS, _EPS = (0.9, 0.999), 1e-8
# Of a mean that is divided by, where a hint is 0 but for rounding, and of the length of attention.
_SMALLEST, _SHORTEST = 1e-8, 1e-20


class HintDynamic(Distiller):
    r"""Hints that are weighed for each image, by what helps on images held out (after Liu et al., arXiv 2211.17059).

    .. math:: L = L_{CE} + \sum_m \beta_m \, \frac{1}{B} \sum_b \tilde w_{bm} \, \ell_{bm}, \qquad
        \tilde w = \mu \, h + (1 - \mu) \, w, \qquad w = M \, \mathrm{softmax}(\mathrm{MLP}(s))

    Hints :math:`\ell_m`, each divided by its running mean: logits (KL at ``tau``), the last map (FitNet's regressor)
    and its attention. The state s of an image is its hints, its cross-entropy, the entropies of both networks, the
    teacher's probability of its class and the progress of the training; h is the running mean of its own weights. Every
    ``every`` steps the MLP takes a step of Adam to lower the cross-entropy on held-out images of a student that has
    taken a step of gradient descent, without momentum, on L.

    The paper's abstract gives the idea alone: equations and values are ours, after Meta-Weight-Net and MMKD. Held-out
    images are those of ``data.heldout``, or, where that is not set, 5 % of each class of this method's training images.

    Args:
        student: the student's classes and last map.
        teacher: the teacher's.
        logit_weight: :math:`\beta` of the logits; 0 leaves a hint out.
        map_weight: of the last map.
        attention_weight: of its attention.
        tau: temperature of the logits.
        weighing: ``"each"`` image of its own; or the controls: ``"mean"``, for all images of a batch their mean weights
            in each step, and ``"equal"``, all 1, which takes no held-out images.
        virtual: what of the student takes the step that the MLP learns of: ``"network"``, all of it, at five times the
            cost of a step; ``"last_stage"``, the last tap and what is behind it; ``"head"``, the classifier, of which
            hints on maps learn nothing.
        every: steps between two of the MLP, >= 1.
        hidden: width of the MLP.
        mlp_lr: learning rate of the MLP.
        mlp_decay: weight decay of the MLP.
        history: :math:`\mu`, in [0, 1].

    Raises:
        InputError: an option is out of its range, fewer than two hints have a weight, the networks have different
            numbers of classes, or one has no tap.
    """

    after: ClassVar[str] = "Liu et al., arXiv 2211.17059"
    taps: ClassVar[Taps] = "last"
    pools: tuple[str, ...] = ("heldout",)
    scale: Tensor
    steps: Tensor
    mlp: Tensor
    moments: Tensor
    weights: Tensor

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        logit_weight: float = 1.0,
        map_weight: float = 1.0,
        attention_weight: float = 1.0,
        tau: float = 4.0,
        weighing: Weighing = "each",
        virtual: Virtual = "last_stage",
        every: int = 5,
        hidden: int = 64,
        mlp_lr: float = 1e-3,
        mlp_decay: float = 1e-4,
        history: float = 0.5,
    ) -> None:
        super().__init__(student, teacher)
        betas = {"logits": logit_weight, "map": map_weight, "attention": attention_weight}
        check_weights(
            logit_weight=logit_weight,
            map_weight=map_weight,
            attention_weight=attention_weight,
            mlp_decay=mlp_decay,
        )
        check_choice("weighing", weighing, get_args(Weighing))
        check_choice("virtual", virtual, get_args(Virtual))
        check_positive("tau", tau)
        check_positive("mlp_lr", mlp_lr)
        for name, number in (("every", every), ("hidden", hidden)):
            require(number >= 1, f"{name}={number}: give 1 or more")
        require(0 <= history <= 1, f"history={history}: it is a share, from 0 to 1")
        self.student = at_stage(student, -1, "student")
        self.teacher = at_stage(check_networks(student, teacher), -1, "teacher")
        self.betas = {name: weight for name, weight in betas.items() if weight}
        hints = len(self.betas)
        require(hints >= 2, f"{hints} of the hints logits, map and attention has a weight: give one to two or more")
        if "map" in self.betas:
            grids = plane_of(self.student.grid), plane_of(self.teacher.grid)
            self.hint = HintLoss(self.student.channels, self.teacher.channels, *grids)
        self.tau, self.weighing, self.virtual, self.every = tau, weighing, virtual, every
        self.mlp_lr, self.mlp_decay, self.history = mlp_lr, mlp_decay, history
        if weighing == "equal":
            self.pools = ()
        self._shapes = [(hidden, hints + 5), (hidden,), (hints, hidden), (hints,)]
        first = nn.Linear(hints + 5, hidden)
        start = [first.weight, first.bias, *(torch.zeros(shape) for shape in self._shapes[2:])]
        # Buffers, so that neither the optimiser of the training nor its gradients know of them.
        self.register_buffer("mlp", torch.cat([each.detach().flatten() for each in start]))
        self.register_buffer("moments", torch.zeros(2, len(self.mlp)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.zeros(hints))
        self.register_buffer("weights", torch.ones(0, hints))

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the running weights of every training image."""
        self.weights = torch.ones(len(targets), len(self.betas), device=self.weights.device)

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts ``ce``, ``logits``, ``map`` and ``attention``, those of hints of size 1 but for weights."""
        teacher = self.need(teacher)
        self.check_batch(student, teacher, step)
        hints = self._hints(student, teacher, keep=self.training)
        ce = cross_entropy(full_precision(student.logits), step.target)
        weights = torch.ones_like(hints)
        if self.weighing != "equal":
            with torch.no_grad():
                own = self._own(self.mlp, self._state(hints, student, teacher, step))
                weights = self._mixed(own, step)
                if self.training:
                    index = self._index(step)
                    self.weights[index] = _HISTORY * self.weights[index] + (1 - _HISTORY) * own.to(self.weights)
        values = (weights * hints).mean(0)
        return {"ce": (1.0, ce)} | {
            name: (beta, value) for (name, beta), value in zip(self.betas.items(), values.unbind(), strict=True)
        }

    def learns_beside(self) -> bool:
        """Whether weights are learnt."""
        return self.weighing != "equal"

    def before(self, images: Inputs, step: Step) -> None:
        """Let the MLP take its step."""
        mlp = self.mlp.clone().requires_grad_()
        (grad,) = torch.autograd.grad(self.heldout_loss(mlp, images, step), mlp)
        self.steps += 1
        self._adam(grad, self.steps.double())

    @torch.enable_grad()
    def heldout_loss(self, mlp: Tensor, images: Inputs, step: Step) -> Tensor:
        """Return the cross-entropy on held-out images after a step of the student on images; nothing changes.

        Args:
            mlp: all parameters of the MLP in one vector; the gradient reaches them.
            images: uint8 ``[B, 3, H, W]``, or what else the networks take.
            step: their labels, the networks, held-out images and the learning rate.

        Raises:
            InputError: there are no networks, or no held-out images.
        """
        networks = step.need_networks("HintDynamic")
        require(
            "heldout" in step.pool,
            "HintDynamic learns of images that are held out, and the training has none: give it pools={'heldout': ...}",
        )
        now = {name: each.detach().clone().requires_grad_() for name, each in networks.parameters(self.virtual).items()}
        with statistics_kept(self):
            student, teacher = networks.virtual(images, now), networks.teacher(images)
            hints = self._hints(student, teacher, keep=False)
        weights = self._mixed(self._own(mlp, self._state(hints.detach(), student, teacher, step)), step)
        betas = torch.cat([hints.new_full((1,), beta) for beta in self.betas.values()])
        loss = cross_entropy(student.logits, step.target) + (betas * (weights * hints).mean(0)).sum()
        grads = torch.autograd.grad(loss, list(now.values()), create_graph=True, allow_unused=True)
        moved = {
            name: each if grad is None else each - step.lr * grad
            for (name, each), grad in zip(now.items(), grads, strict=True)
        }
        heldout = step.pool["heldout"]
        logits = networks.virtual(heldout.inputs, moved).logits
        return cross_entropy(logits, heldout.target.to(logits.device))

    def _hints(self, student: Outputs, teacher: Outputs, keep: bool) -> Tensor:
        """Return the hints of each image, ``[B, M]``, divided by their running means, which are kept or not."""
        maps = as_map(student.features[-1], self.student), as_map(teacher.features[-1].detach(), self.teacher)
        found = {}
        if "logits" in self.betas:
            found["logits"] = _kl(student.logits, teacher.logits.detach(), self.tau)
        if "map" in self.betas:
            a, b = self.hint.compared(*maps)
            found["map"] = (a - b).square().flatten(1).mean(1)
        if "attention" in self.betas:
            grid = common_grid(self.student.grid, self.teacher.grid)
            found["attention"] = (_attention(maps[0], grid) - _attention(maps[1], grid)).square().mean(1)
        hints = torch.stack([found[name] for name in self.betas], dim=1)
        means = hints.detach().mean(0)
        kept = self.scale.to(means)  # 0 where there is none yet
        scale = torch.where(kept == 0, means, torch.lerp(means, kept, _MEAN) if keep else kept)
        if keep:
            self.scale.copy_(scale)
        return hints / scale.clamp_min(_SMALLEST)

    def _state(self, hints: Tensor, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return what the MLP knows of each image, ``[B, M + 5]``."""
        ours, theirs = (full_precision(each.logits.detach()) for each in (student, teacher))
        known = [
            cross_entropy(ours, step.target, reduction="none"),
            _entropy(ours),
            _entropy(theirs),
            theirs.softmax(1).gather(1, step.target[:, None])[:, 0],
            torch.full_like(ours[:, 0], step.progress),
        ]
        return torch.cat([hints.detach(), torch.stack(known, dim=1)], dim=1)

    def _own(self, mlp: Tensor, state: Tensor) -> Tensor:
        """Return the weights that the MLP gives each image, ``[B, M]`` of mean 1."""
        sizes = [math.prod(shape) for shape in self._shapes]
        first, bias, last, shift = (
            part.view(shape) for part, shape in zip(mlp.split(sizes), self._shapes, strict=True)
        )
        hidden = (state.to(mlp) @ first.T + bias).relu()
        return len(self.betas) * (hidden @ last.T + shift).softmax(1)

    def _mixed(self, own: Tensor, step: Step) -> Tensor:
        """Return the weights of each image with those it had before, ``[B, M]``."""
        mixed = torch.lerp(own, self.weights[self._index(step)].to(own), self.history)
        return mixed.mean(0, keepdim=True).expand_as(mixed) if self.weighing == "mean" else mixed

    def _index(self, step: Step) -> Tensor:
        if step.index is None or not len(self.weights):
            raise InputError(
                "HintDynamic remembers the weights of each image: call bind with the labels of the training set, and "
                "give Step(index=...) the positions of the images"
            )
        return step.index

    def _adam(self, grad: Tensor, count: Tensor) -> None:
        """Take a step of the MLP, the ``count``-th one, a scalar."""
        grad = grad + self.mlp_decay * self.mlp
        first, second = self.moments
        first.lerp_(grad, 1 - _BETAS[0])
        second.lerp_(grad.square(), 1 - _BETAS[1])
        size = (second / (1 - _BETAS[1] ** count)).sqrt() + _EPS
        self.mlp -= self.mlp_lr / (1 - _BETAS[0] ** count) * first / size


def _kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    log_s, log_t = (log_softmax(full_precision(each) / tau, dim=1) for each in (student, teacher))
    return tau**2 * (log_t.exp() * (log_t - log_s)).sum(1)


def _entropy(logits: Tensor) -> Tensor:
    logs = log_softmax(logits, dim=1)
    return -(logs.exp() * logs).sum(1)


def _attention(feature_map: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Unit-length attention ``[B, H * W]`` as AttentionLoss has it, of operations that have a second derivative."""
    x = pool_to_grid(full_precision(feature_map), grid).flatten(2)
    # Only the direction counts, in the gradient too; squares of large and small activations stay in range.
    x = x / x.detach().abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    energy = x.square().mean(1)
    return energy / (energy.square().sum(1, keepdim=True) + _SHORTEST).sqrt()
