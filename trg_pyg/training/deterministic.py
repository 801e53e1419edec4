"""The same training twice, the same weights to the bit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trg_pyg.errors import InputError, require

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# cuBLAS is deterministic with these sizes of its workspace, says its documentation.
_SIZES = (":4096:8", ":16:8")


def set_cublas_workspace() -> None:
    """Make cuBLAS deterministic in this process, by an environment variable that it reads when CUDA is first used.

    Raises:
        InputError: CUDA is in use already, or the variable has a value that is not deterministic.
    """
    size = os.environ.get(_WORKSPACE)
    if size in _SIZES:
        return
    remedy = f"set {_WORKSPACE}={_SIZES[0]} before the start, or leave train.deterministic out"
    require(size is None, f"train.deterministic: {_WORKSPACE}={size} lets cuBLAS be nondeterministic; {remedy}")
    require(
        not torch.cuda.is_initialized(),
        f"train.deterministic: CUDA is in use already, and has read at its start that {_WORKSPACE} is not set; "
        f"{remedy}",
    )
    os.environ[_WORKSPACE] = _SIZES[0]


@contextmanager
def deterministic_algorithms(wanted: bool, device: torch.device) -> Iterator[None]:
    """Let PyTorch use deterministic algorithms only, for a while; afterwards everything is as it was.

    Args:
        wanted: False changes nothing.
        device: where the networks run.

    Raises:
        InputError: cuBLAS can't be made deterministic any more (:func:`set_cublas_workspace`), or an operation in the
            block has no deterministic algorithm on the device.
    """
    if not wanted:
        yield
        return
    if device.type == "cuda":
        set_cublas_workspace()
    was, only_warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    searched = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    # It takes what was fastest in a trial, which is another one from start to start.
    torch.backends.cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(" does not have a deterministic implementation")
        if not found:
            raise
        raise InputError(
            f"train.deterministic: {operation.rpartition(' ')[2]} has no deterministic algorithm on {device.type}; "
            "choose a network or method without it, or leave train.deterministic out"
        ) from error
    finally:
        torch.use_deterministic_algorithms(was, warn_only=only_warned)
        torch.backends.cudnn.benchmark = searched
