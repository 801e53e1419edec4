"""From node features to one vector a graph."""

from typing import Literal

from torch import Tensor, nn
from torch_geometric.nn import global_add_pool, global_max_pool, global_mean_pool

from trg_pyg.errors import require

_POOL = {"mean": global_mean_pool, "max": global_max_pool, "sum": global_add_pool}


class Readout(nn.Module):
    """Pools the nodes of every graph of a batch to one vector.

    Args:
        kind: ``"mean"``, ``"max"`` or ``"sum"`` over the nodes.

    Shapes:
        - node features ``(|V|, F)``, ``batch`` ``(|V|)`` graph number of each node
        - output ``(graphs, F)``

    Raises:
        InputError: there is no such pooling.
    """

    def __init__(self, kind: Literal["mean", "max", "sum"] = "mean") -> None:
        super().__init__()
        require(kind in _POOL, f"readout={kind}: choose {', '.join(_POOL)}")
        self.kind = kind

    def forward(self, x: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Return one row a graph."""
        return _POOL[self.kind](x, batch, size=num_graphs)
