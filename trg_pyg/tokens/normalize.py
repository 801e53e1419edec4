"""Length and precision of token vectors."""

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is of lower precision; float32 and float64 are returned as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def l2_normalize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Scale vectors to unit length along the last axis, in float32 at least.

    A vector no longer than ``eps`` has no direction: it becomes zero and passes no gradient back.
    (Dividing by a clamped norm would multiply its gradient by 1 / eps, and a ReLU network does make exact zeros.)

    Args:
        x: ``[..., D]``.
        eps: length up to which a vector counts as zero.

    Returns:
        ``[..., D]``.
    """
    x = full_precision(x)
    # Squares of long vectors overflow. The direction does not depend on the length, so scaling by a constant is free.
    largest = x.detach().abs().amax(-1, keepdim=True)
    x = x / torch.where(largest > 0, largest, 1.0)
    squared = x.square().sum(-1, keepdim=True)
    # Asked this way round, a NaN is not a zero vector and stays to be seen.
    zero = largest * squared.sqrt() <= eps
    return torch.where(zero, 0.0, x * torch.where(zero, 1.0, squared).rsqrt())
