"""Softmax over groups of edges."""

from torch import Tensor
from torch_geometric.utils import scatter


def segment_log_softmax(logits: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Log-softmax within groups; PyG's ``softmax`` adds 1e-16 to the sum, which a logarithm would show.

    Args:
        logits: ``[E]``.
        group: group of each entry, ``[E]``, int64.
        num_groups: number of groups; a group may be empty.

    Returns:
        ``[E]``.
    """
    # The maximum is a constant as far as the gradient goes: it cancels.
    top = scatter(logits.detach(), group, dim_size=num_groups, reduce="max")
    shifted = logits - top[group]
    total = scatter(shifted.exp(), group, dim_size=num_groups, reduce="sum")
    return shifted - total[group].log()
