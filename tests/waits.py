"""Code that would wait for a GPU, found without one: on the CPU, and on fake CUDA tensors."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from trg_pyg.step import Step

# What gives the host a number of a tensor, or a tensor whose size depends on numbers.
WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "allclose", "nonzero", "masked_select", "bincount"),
    *("_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
}


class Refuse(TorchDispatchMode):
    """Raises where a program on a GPU would wait for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        assert name not in WAITING or kwargs.get("output_size") is not None, f"{name} waits"
        if name in ("index", "index_put", "index_put_"):
            assert all(at is None or at.dtype == torch.int64 for at in args[1]), f"{name} by a mask waits"
        out = func(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            devices = {each.device.type for each in (out, *args) if isinstance(each, Tensor)}
            assert len(devices) == 1 or (out.device.type == "cuda" and kwargs.get("non_blocking")), f"{name} waits"
        return out


def forbid_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library think that it may not look at tensors, though they are on the CPU."""
    for name, module in list(sys.modules.items()):
        if name.startswith("trg_pyg.") and "can_look" in vars(module):
            monkeypatch.setattr(module, "can_look", lambda tensor: False)


class _Around(nn.Module):
    def __init__(self, call: Callable[..., Any], modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.call, self.parts = call, nn.ModuleList(modules)

    def forward(self, *args: Any) -> Any:
        return self.call(*args)


def fake_cuda(call: Callable[..., Any], modules: Iterable[nn.Module], *args: Any) -> Any:
    """Call a function, with the modules that it uses, as if all tensors were on a GPU; nothing is computed.

    Args:
        call: the function.
        modules: whose parameters and buffers are moved.
        args: tensors, tuples of them, and anything else, which stays where it is.
    """
    around = _Around(call, modules)
    with FakeTensorMode(allow_non_fake_inputs=True):
        state = {name: _moved(each) for name, each in (*around.named_parameters(), *around.named_buffers())}
        with Refuse():
            return functional_call(around, state, tuple(map(_moved, args)))


def _moved(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="cuda")
    if isinstance(value, Step):
        return replace(value, **{name: _moved(getattr(value, name)) for name in ("target", "index", "inputs")})
    if isinstance(value, tuple):
        parts = map(_moved, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
