"""Copies to the device that never make the program wait for it."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to ``device`` in the background."""
    # Out of ordinary memory CUDA would finish the work queued so far before it copies; out of pinned memory it queues.
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
