"""Images that are changed so that a network errs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trg_pyg.errors import require


def check_attack(eps: float, step: float, steps: int) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` where an attack of these sizes is none, see :func:`pgd`."""
    for name, value in (("eps", eps), ("step", step)):
        require(0 < value <= 1, f"{name}={value}: it is a share of the range of a pixel, above 0 and at most 1")
    require(steps >= 1, f"steps={steps}: an attack takes 1 step at least")


@torch.enable_grad()
def pgd(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    target: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    start: Tensor,
) -> Tensor:
    r"""Return images near others for which the cross-entropy of a network is high (Madry et al., arXiv 1706.06083).

    .. math:: x \leftarrow \Pi \big( x + \eta \, \mathrm{sign} \, \nabla_x \mathrm{CE}(f(x), y) \big)

    where :math:`\Pi` keeps every pixel within :math:`\epsilon` of the image's and in [0, 1].

    Args:
        network: in evaluation mode; images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]``.
        images: uint8, or float in [0, 1], ``[B, C, H, W]``.
        target: ``[B]``, int64.
        eps: largest change of a pixel, as a share of its range; 8/255 is usual for colour images.
        step: :math:`\eta`, in the same unit.
        steps: >= 1.
        start: what is first added to the images, in units of ``eps``: 0, or at random in [-1, 1], as their shape.

    Returns:
        float32 ``[B, C, H, W]`` in [0, 1], without gradient.

    Raises:
        InputError: ``eps`` or ``step`` is not in (0, 1], or ``steps`` is below 1.
    """
    check_attack(eps, step, steps)
    clean = images.float() / 255 if images.dtype == torch.uint8 else images.detach().float()
    low, high = (clean - eps).clamp(min=0), (clean + eps).clamp(max=1)
    attacked = (clean + eps * start.to(clean)).clamp(0, 1)
    for _ in range(steps):
        leaf = attacked.detach().requires_grad_()
        # The sum, so that an image's gradient does not depend on its batch.
        (gradient,) = torch.autograd.grad(cross_entropy(network(leaf), target, reduction="sum"), leaf)
        attacked = torch.clamp(leaf.detach() + step * gradient.sign(), low, high)
    return attacked


@dataclass(frozen=True)
class Attack:
    """How hard a network is tried: :func:`pgd` from several starts, of which the worst for each image counts.

    Args:
        steps: >= 1.
        eps: largest change of a pixel, as a share of its range.
        step: in the same unit; ``None`` for 2.5 eps / steps, by which every image within reach can be reached.
        restarts: starts, >= 1.
        seed: of the starts, >= 0. They follow from it and the order of the images, not from the size of batches.

    Raises:
        InputError: a value is out of its range.
    """

    steps: int = 20
    eps: float = 8 / 255
    step: float | None = None
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_attack(self.eps, 1.0 if self.step is None else self.step, self.steps)
        require(self.restarts >= 1, f"restarts={self.restarts}: an attack starts once at least")
        require(self.seed >= 0, f"seed={self.seed}: give 0 or more")

    @property
    def step_size(self) -> float:
        """The step that is taken."""
        return min(2.5 * self.eps / self.steps, 1.0) if self.step is None else self.step

    def __str__(self) -> str:
        starts = f"{self.restarts} start{'' if self.restarts == 1 else 's'}"
        size = f"PGD of {self.steps} step{'' if self.steps == 1 else 's'} of {self.step_size:.3g}"
        return f"{size} within {self.eps:.3g} of each pixel, {starts} of seed {self.seed}"

    def generators(self) -> list[torch.Generator]:
        """Return what each start is drawn from; they go on from batch to batch of a set."""
        root = torch.Generator().manual_seed(self.seed)
        seeds = torch.randint(2**62, (self.restarts,), generator=root).tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    @torch.no_grad()
    def __call__(
        self,
        network: Callable[[Tensor], Tensor],
        images: Tensor,
        target: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Return of each image the worst that was found, itself included: that with the label furthest behind.

        Args:
            network: in evaluation mode; images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]``.
            images: uint8, or float in [0, 1], ``[B, C, H, W]``.
            target: ``[B]``, int64.
            generators: of :meth:`generators`.

        Returns:
            float32 ``[B, C, H, W]`` in [0, 1].
        """
        worst = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        clean, behind = worst, _behind(network(worst), target)
        for generator in generators:
            start = 2 * torch.rand(clean.shape, generator=generator) - 1
            found = pgd(network, clean, target, eps=self.eps, step=self.step_size, steps=self.steps, start=start)
            further = _behind(network(found), target)
            worst = torch.where((further > behind).view(-1, 1, 1, 1), found, worst)
            behind = torch.maximum(further, behind)
        return worst


def _behind(logits: Tensor, target: Tensor) -> Tensor:
    """By how much the best other class is before the label, ``[B]``; above 0 where the guess is wrong."""
    own = logits.gather(1, target[:, None])
    others = logits.scatter(1, target[:, None], -torch.inf)
    return others.amax(dim=1) - own[:, 0]
