"""How much of one graph another graph finds again."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import require
from trg_pyg.relations.base import check_graph


def edge_recall(graph: Data, reference: Data) -> Tensor:
    r"""Return the share of the edges of a reference graph that another graph on the same nodes has too.

    .. math:: \mathrm{recall} = |E \cap E_\mathrm{ref}| / |E_\mathrm{ref}|

    Edges are directed and their weights are not looked at. Where both graphs have K incoming edges a node, it is the
    mean over nodes of the share of the reference's K neighbours that are found, and a graph of random neighbours has
    K / (M - 1) of them, M being the nodes that neighbours are chosen among, the node itself included.

    Args:
        graph: a graph or batch.
        reference: the graph or batch to be found again, with at least one edge.

    Returns:
        A float32 scalar in [0, 1].

    Raises:
        InputError: the graphs have different numbers of nodes, or the reference has no edge.
    """
    for each in (graph, reference):
        check_graph(each)
    nodes = int(reference.num_nodes)
    require(
        int(graph.num_nodes) == nodes,
        f"a graph of {graph.num_nodes} nodes beside a reference of {nodes}: build both on the same nodes",
    )
    require(reference.edge_index.shape[1] > 0, "the reference graph has no edge, so there is nothing to find again")
    own, wanted = (source * nodes + target for source, target in (graph.edge_index, reference.edge_index))
    return torch.isin(wanted, own).float().mean()
