"""Length and precision of token vectors."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trg_pyg.errors import require


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is of lower precision; float32 and float64 are returned as they are.

    Raises:
        InputError: ``x`` holds no real floating-point numbers.
    """
    if x.dtype in (torch.float32, torch.float64):
        return x
    require(x.is_floating_point(), f"features of type {x.dtype}: give floating-point ones, such as x.float()")
    return x.float()


def check_type(x: Tensor, factor: Tensor) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless features are of the type of what they are multiplied with."""
    require(
        x.dtype == factor.dtype,
        f"features of type {x.dtype} meet those or parameters of type {factor.dtype}: convert one of them with .to()",
    )


def l2_normalize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Scale vectors to unit length along the last axis, in float32 at least.

    A vector no longer than ``eps`` has no direction: it becomes zero and passes no gradient back.
    (Dividing by a clamped norm would multiply its gradient by 1 / eps, and a ReLU network does make exact zeros.)

    Args:
        x: ``[..., D]``.
        eps: length up to which a vector counts as zero.

    Returns:
        ``[..., D]``, differentiable once.

    Raises:
        InputError: the vectors have no coordinate, or are no floating-point numbers.
    """
    require(x.dim() >= 1 and x.shape[-1] >= 1, f"vectors of shape {tuple(x.shape)}: give [..., D] with D at least 1")
    out: Tensor = _Direction.apply(full_precision(x), eps)
    return out


class _Direction(torch.autograd.Function):
    """One function, because its dozen of small steps, each recorded, cost more than what they compute."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        # Squares of long vectors overflow, so the largest coordinate is divided out first.
        # On a CPU the norm of order infinity takes ten times as long.
        scale = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())
        scale = scale.masked_fill(scale == 0, 1.0)
        out = x / scale
        length = torch.linalg.vector_norm(out, dim=-1, keepdim=True)
        # Asked this way round, a NaN is not a zero vector and stays to be seen. Over infinity all else becomes 0.
        length.masked_fill_(scale * length <= eps, torch.inf)
        out /= length
        ctx.save_for_backward(out, scale, length)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        out, scale, length = ctx.saved_tensors
        # What of the gradient is along the vector would change its length alone.
        along = (grad * out).sum(-1, keepdim=True)
        return torch.addcmul(grad, out, along, value=-1).div_(length).div_(scale), None
