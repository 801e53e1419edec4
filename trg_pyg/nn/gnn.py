"""A small learnable graph network."""

from torch import Tensor, nn
from torch_geometric.nn import GraphConv

from trg_pyg.errors import require


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
