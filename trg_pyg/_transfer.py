"""From one device to another."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to ``device`` in the background: the program never waits for it."""
    # Out of ordinary memory CUDA would finish the work queued so far before it copies; out of pinned memory it queues.
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def in_double(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device, MPS, has no such numbers."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
