import os
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from hypothesis import HealthCheck, settings
from inputs import draw, make_hard
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, for the reason of one_thread

# What a fixture gives is the same for all examples, or a maker of new ones; a busy machine may be slow.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# A change is judged on the same examples every time; elsewhere each run looks for new ones.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tensors here are so small that waking other threads takes longer than the work, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class LargestTensor(TorchDispatchMode):
    """Remembers the largest storage, in elements, of any tensor that an operation returns, backward pass included."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.untyped_storage().nbytes() // value.element_size())
        return out


def check_close(actual: Tensor, expected: Tensor, inputs: Sequence[Tensor]) -> None:
    """Values to 1e-6 relative, gradients to 1e-5 of the largest entry."""
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-12)
    grads = torch.autograd.grad(actual, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
    wanted = torch.autograd.grad(expected, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
    for grad, want in zip(grads, wanted, strict=True):
        largest = want.abs().max().item() if want.numel() else 0.0
        torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-5 * largest + 1e-12)


@pytest.fixture
def hard() -> Callable[..., Tensor]:
    return make_hard


@pytest.fixture
def close() -> Callable[[Tensor, Tensor, Sequence[Tensor]], None]:
    return check_close


@pytest.fixture
def largest_tensor() -> type[LargestTensor]:
    return LargestTensor


@pytest.fixture
def tokens() -> Callable[..., Tensor]:
    """Random tokens ``[images, tokens, width]``."""

    def make(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        return draw(seed, *shape).to(dtype)

    return make
