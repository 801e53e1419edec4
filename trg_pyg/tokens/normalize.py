"""Length and precision of token vectors."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trg_pyg.errors import require

# Of whose zero vectors it was told already.
_told: set[str] = set()


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


def tell_of_zeros(tokens: Tensor, of: str = "") -> None:
    """Warn, once in a process, that some of the tokens are zero vectors: their neighbours are chosen by index alone.

    It waits for the tokens, so on a GPU it is for callers who wait anyway.

    Args:
        tokens: ``[..., D]``.
        of: whose tokens they are; each is told of once, and after one of them nobody without a name.
    """
    if of in _told:
        return
    # The length of nearly all is seen at once, that of very short vectors underflows to 0.
    if torch.linalg.vector_norm(tokens, dim=-1).all():
        return
    zero = (tokens == 0).all(-1)
    if found := int(zero.sum()):
        _told.update({of, ""})
        warnings.warn(
            f"{found} of {zero.numel()} tokens{of and ' of ' + of} are zero vectors: they have no direction, so that "
            "which neighbours they have says nothing; float16 makes zeros of what is below 3e-8",
            stacklevel=3,
        )


def l2_normalize(x: Tensor) -> Tensor:
    """Scale vectors to unit length along the last axis, in float32 at least, however short they are.

    A zero vector has no direction: it stays zero and passes no gradient back, and a ReLU network does make exact zeros.
    The gradient of a vector is as large as the vector is short; where its reciprocal would overflow (in float32 at a
    length of 1e-32) none is passed.

    Args:
        x: ``[..., D]``.

    Returns:
        ``[..., D]``, differentiable once.

    Raises:
        InputError: the vectors have no coordinate, or are no floating-point numbers.
    """
    require(x.dim() >= 1 and x.shape[-1] >= 1, f"vectors of shape {tuple(x.shape)}: give [..., D] with D at least 1")
    out: Tensor = _Direction.apply(full_precision(x))
    return out


class _Direction(torch.autograd.Function):
    """One function, because its dozen of small steps, each recorded, cost more than what they compute."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # Squares of long vectors overflow and those of short ones underflow, so the largest coordinate is divided out
        # first. On a CPU the norm of order infinity takes ten times as long.
        scale = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())
        # A NaN is not below it and stays to be seen.
        short = scale < 2**20 * torch.finfo(x.dtype).tiny
        scale = scale.masked_fill(scale == 0, 1.0)
        out = x / scale
        length = torch.linalg.vector_norm(out, dim=-1, keepdim=True)
        out /= length.masked_fill(length == 0, 1.0)
        # Over infinity all of a gradient becomes 0.
        ctx.save_for_backward(out, scale, length.masked_fill_(short, torch.inf))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        out, scale, length = ctx.saved_tensors
        # What of the gradient is along the vector would change its length alone.
        along = (grad * out).sum(-1, keepdim=True)
        return torch.addcmul(grad, out, along, value=-1).div_(length).div_(scale)
