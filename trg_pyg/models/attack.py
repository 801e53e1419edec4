"""Images that are changed so that a network errs."""

from collections.abc import Callable

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
