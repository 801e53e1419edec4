"""How much of one graph another graph finds again, and how much of it by chance."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import require
from trg_pyg.graphs.batch import graph_sizes
from trg_pyg.relations.base import check_graph


def edge_recall(graph: Data, reference: Data) -> Tensor:
    r"""Return the share of the edges of a reference graph that another graph on the same nodes has too.

    .. math:: \mathrm{recall} = |E \cap E_\mathrm{ref}| / |E_\mathrm{ref}|

    Edges are directed and their weights are not looked at. Where both graphs have K incoming edges a node, it is the
    mean over nodes of the share of the reference's K neighbours that are found. It says little beside what random edges
    would have, :func:`chance_recall`, and :func:`corrected_recall`.

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


def chance_recall(graph: Data) -> float:
    r"""Return the edge recall of random edges, as many as a graph or batch has, whatever the reference is.

    .. math:: c = |E| / \sum_g n_g (n_g - 1)

    with the graphs' numbers of nodes n. It is K / (n - 1) where each of n nodes has K incoming edges: with 8 of 15
    others, 0.53 are found by chance.

    Raises:
        InputError: it is no graph.
    """
    check_graph(graph)
    pairs = sum(size * (size - 1) for size in graph_sizes(graph))
    return min(1.0, graph.num_edges / max(pairs, 1))


def corrected_recall(recall: float, chance: float) -> float | None:
    r"""Return edge recall above chance: 0 for random edges, 1 for all of the reference's.

    .. math:: (\mathrm{recall} - c) / (1 - c)

    ``None`` where all pairs are joined: there is nothing to find.
    """
    return None if chance >= 1 else (recall - chance) / (1 - chance)
