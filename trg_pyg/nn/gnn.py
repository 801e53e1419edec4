"""Networks on graphs: message passing without parameters and with, and readout."""

from typing import Literal

from torch import Tensor, nn
from torch_geometric.nn import GraphConv, MessagePassing, global_add_pool, global_max_pool, global_mean_pool

from trg_pyg.errors import require
from trg_pyg.nn.neighbour_sum import neighbour_sum


class Propagation(MessagePassing):
    r"""Averages every node with its neighbours, h times, edge weights as coefficients (ours).

    .. math:: x_i \leftarrow \frac{x_i + \sum_{j \to i} A_{ji} x_j}{1 + \sum_{j \to i} A_{ji}}

    The node itself counts with weight 1, which is a Gaussian kernel's value at distance 0. A node without incoming
    edges keeps its features. Nothing is learned.

    Args:
        hops: number of rounds h; 0 returns the features as they are.

    Shapes:
        - node features ``(|V|, F)``, ``edge_index`` ``(2, |E|)``, ``edge_weight`` ``(|E|)``, non-negative
        - output ``(|V|, F)``

    Raises:
        InputError: hops is negative.
    """

    def __init__(self, hops: int = 1) -> None:
        super().__init__(aggr="add")
        require(hops >= 0, f"hops={hops}: choose 0 or more rounds of message passing")
        self.hops = hops

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, num_graphs: int = 1) -> Tensor:
        """Return the propagated features; ``num_graphs`` as in :func:`~trg_pyg.nn.neighbour_sum.neighbour_sum`."""
        if edge_weight is None:
            edge_weight = x.new_ones(edge_index.shape[1])
        edge_weight = edge_weight.to(x.dtype)
        total = x.new_ones(x.shape[0]).scatter_add(0, edge_index[1], edge_weight).unsqueeze(-1)
        for _ in range(self.hops):
            # PyG's propagate would make, and keep, the messages of all edges.
            x = (x + neighbour_sum(x, edge_index, edge_weight, num_graphs)) / total
        return x

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hops={self.hops})"


class TokenGNN(nn.Module):
    r"""h layers of PyG's ``GraphConv`` (Morris et al., arXiv 1810.02244) with mean aggregation and residuals.

    .. math:: x_i \leftarrow x_i + \mathrm{ReLU}\Big(W_1 x_i + W_2 \tfrac{1}{|N(i)|} \sum_{j \to i} A_{ji} x_j\Big)

    Args:
        dim: width of the node features, the same in every layer.
        hops: number of layers h.

    Shapes:
        - node features ``(|V|, dim)``, ``edge_index`` ``(2, |E|)``, ``edge_weight`` ``(|E|)``
        - output ``(|V|, dim)``

    Raises:
        InputError: hops is negative.
    """

    def __init__(self, dim: int, hops: int = 1) -> None:
        super().__init__()
        require(hops >= 0, f"hops={hops}: choose 0 or more rounds of message passing")
        self.layers = nn.ModuleList(GraphConv(dim, dim, aggr="mean") for _ in range(hops))

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the features after h layers."""
        for layer in self.layers:
            x = x + layer(x, edge_index, edge_weight).relu()
        return x


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
