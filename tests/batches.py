"""Batches as plain tensors."""

from torch import Tensor

from trg_pyg.batch import Batch


def tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.inputs, batch.target, batch.index
