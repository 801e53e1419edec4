"""Lower precision for the forward passes of the networks."""

import torch

from trg_pyg.training.config import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network runs on ``device``; with ``"fp32"`` it changes nothing."""
    return torch.autocast(device.type, dtype=_DTYPES.get(precision), enabled=precision != "fp32")
