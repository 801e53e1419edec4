"""Tensors for tests: at random, or hard in one way for formulas with lengths, logarithms and quotients."""

import torch
from torch import Tensor

HARD = ["duplicates", "zeros", "all equal", "one node different", "large", "small", "tiny"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def make_hard(kind: str, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Node features ``[M, D]`` of a kind of ``HARD``, or such as are not: "random"."""
    x = draw(seed, *shape)
    if kind == "duplicates":
        half = shape[0] // 2
        x[half : 2 * half] = x[:half]
    elif kind == "zeros":
        x[::2] = 0
    elif kind == "all equal":
        x[:] = x[0].clone()
    elif kind == "one node different":
        x[1:] = x[0].clone()
        x[0] *= -1
    elif kind in ("large", "small", "tiny"):
        x *= {"large": 1e4, "small": 1e-3, "tiny": 1e-12}[kind]
    return x.to(dtype)
