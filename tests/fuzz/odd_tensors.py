"""Tensors of any shape, type, layout and content."""

from typing import NamedTuple

import hypothesis.strategies as st
import torch
from torch import Tensor

CONTENTS = ["random"] * 5 + ["zeros", "duplicates", "equal", "large", "small", "mixed", "huge", "nan", "infinite"]
DTYPES = [torch.float32] * 6 + [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64]
LAYOUTS = ["plain", "plain", "transposed", "strided", "expanded"]
# Up to here everything has to stay finite, forward and backward: what float16 can hold.
LARGE = 6e4


class Odd(NamedTuple):
    """How to make a tensor of a shape, so that an example is small to write down."""

    content: str
    dtype: torch.dtype
    layout: str
    seed: int

    def make(self, *shape: int) -> Tensor:
        """A tensor of a shape; it requires a gradient where it can."""
        x = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        x = self._filled(x)
        if self.dtype.is_floating_point and self.content not in ("nan", "infinite", "huge"):
            x = x.clamp(-LARGE, LARGE)
        x = x.to(self.dtype)
        if x.dim() >= 1 and self.layout == "strided":
            x = x.repeat_interleave(2, dim=-1)[..., ::2]
        elif x.dim() >= 2 and self.layout == "transposed":
            x = x.transpose(0, -1).contiguous().transpose(0, -1)
        elif x.dim() >= 1 and self.layout == "expanded" and x.shape[0]:
            x = x[:1].expand(x.shape)
        x = x.detach()
        return x.requires_grad_() if x.is_floating_point() or x.is_complex() else x

    def _filled(self, x: Tensor) -> Tensor:
        flat = x.view(-1)
        if self.content == "zeros":
            x.zero_()
        elif self.content == "equal":
            x.fill_(0.7)
        elif self.content == "duplicates" and x.dim() and len(x) > 1:
            x[1::2] = x[:1]
        elif self.content in ("large", "small", "huge"):
            x.mul_({"large": 2e4, "small": 1e-20, "huge": 1e30}[self.content])
        elif self.content == "mixed":
            flat[::3] *= LARGE
            flat[1::3] *= 1e-12
        elif self.content in ("nan", "infinite") and flat.numel():
            flat[:: 1 + self.seed % 3] = float("nan") if self.content == "nan" else float("-inf")
        return x


odd = st.builds(Odd, st.sampled_from(CONTENTS), st.sampled_from(DTYPES), st.sampled_from(LAYOUTS), st.integers(0, 50))


@st.composite
def shapes(draw: st.DrawFn, *usual: int) -> tuple[int, ...]:
    """Mostly the usual shape, else one with other lengths, fewer axes or more."""
    how = draw(st.sampled_from(["usual"] * 6 + ["length", "length", "axes", "any"]))
    shape = list(usual)
    if how == "length" and shape:
        shape[draw(st.integers(0, len(shape) - 1))] = draw(st.sampled_from([0, 1, 2, 3, 17]))
    elif how == "axes":
        if draw(st.booleans()):
            shape.insert(draw(st.integers(0, len(shape))), draw(st.integers(1, 2)))
        elif shape:
            del shape[draw(st.integers(0, len(shape) - 1))]
    elif how == "any":
        shape = draw(st.lists(st.integers(0, 4), max_size=5))
    return tuple(shape)


@st.composite
def labels(draw: st.DrawFn, *usual: int, most: int = 4) -> Tensor:
    """Mostly labels from 0 to ``most``, of the usual shape."""
    shape = draw(shapes(*usual))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    drawn = torch.randint(0, most + 1, shape, generator=generator)
    how = draw(st.sampled_from(["labels"] * 6 + ["negative", "above", "float32", "int32", "bool"]))
    if how == "negative":
        return drawn - 2
    if how == "above":
        return drawn + most
    if how == "labels":
        return drawn
    return drawn.to(getattr(torch, how))


def tame(*tensors: Tensor, most: float = LARGE) -> bool:
    """Whether all are finite and at most as large as what float16 holds, so that nothing made of them may overflow."""
    sizes = (x.detach().abs() if x.is_complex() else x.detach().double().abs() for x in tensors)
    return all(bool(size.isfinite().all()) and float(size.max()) <= most for size in sizes)


def check_finite(value: Tensor, *inputs: Tensor) -> None:
    """Value and gradients are finite where the inputs are tame; where they are not, nothing raises."""
    if value.requires_grad and value.numel():
        value.double().sum().backward()
    inputs = tuple(x for x in inputs if x.numel())
    if not tame(*inputs):
        return
    assert value.isfinite().all(), "not finite"
    for x in inputs:
        if x.grad is None:
            continue
        # The square of a large value has a large gradient, which may be above what float16 holds: then it is infinite.
        may_overflow = x.dtype == torch.float16 and not tame(*inputs, most=1e3)
        assert not x.grad.isnan().any(), "gradient is NaN"
        assert may_overflow or x.grad.isfinite().all(), "gradient not finite"
