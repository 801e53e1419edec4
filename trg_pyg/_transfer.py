"""From one device to another, and what of it costs a wait."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to ``device`` in the background: the program never waits for it."""
    # Out of ordinary memory CUDA would finish the work queued so far before it copies; out of pinned memory it queues.
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def can_look(tensor: Tensor) -> bool:
    """Whether the program may ask for the numbers of a tensor at no cost: on the CPU, outside of compiled code.

    On a GPU it would wait for all work that is queued; indexing with what is no index fails there by itself.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def in_double(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device, MPS, has no such numbers."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
