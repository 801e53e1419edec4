"""Angles at a node."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_dense_batch

from trg_pyg.errors import require
from trg_pyg.relations.base import Place, Relation, check_graph, degree_of, features_of, graph_numbers, layout_of
from trg_pyg.tokens.normalize import l2_normalize


class Angle(Relation):
    r"""Cosine of the angle that two neighbours of a node span at it (RKD, arXiv 1904.05068).

    .. math:: \cos \angle_{jik} = \langle e_{ij}, e_{ik} \rangle, \qquad
        e_{ij} = \frac{x_j - x_i}{\lVert x_j - x_i \rVert}

    for every anchor i and every ordered pair j, k of the nodes with an edge to it. A self loop has no direction, so
    its cosines are 0: over a complete graph with self loops these are the :math:`N^3` values of the paper.

    Args:
        block_bytes: largest block of cosines held at a time, in bytes: values come in blocks of anchors.

    Raises:
        InputError: a graph has fewer than 3 nodes, so that no node has two others.
    """

    on: ClassVar[Place] = "triples"

    def __init__(self, block_bytes: int = 64 << 20) -> None:
        super().__init__()
        self.block_bytes = block_bytes

    def blocks(self, graph: Data) -> list[Any]:
        """Return the anchors of each block, as slices of all nodes, or of those with edges of a process's share."""
        check_graph(graph)
        _check_size(graph)
        # The rows of a block are as long as its longest, so that of the node with most neighbours is the measure.
        anchors, degree = graph.num_nodes, degree_of(graph)
        if degree is None:
            degree = int(torch.bincount(graph.edge_index[1], minlength=anchors).max())
        else:
            anchors = graph.edge_index.shape[1] // degree
        row_bytes = features_of(graph).element_size() * max(1, degree) * (degree + graph.x.shape[1])
        step = max(1, self.block_bytes // row_bytes)
        return [slice(start, start + step) for start in range(0, anchors, step)]

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the cosines of all triples of the block's anchors, ``[T]``, anchor by anchor."""
        check_graph(graph)
        x = features_of(graph)
        _check_size(graph)
        block, degree = block or slice(None), degree_of(graph)
        if degree is None:
            first, last, _ = block.indices(graph.num_nodes)
            return _of_unequal_degrees(x, graph.edge_index, first, last)
        first, last, _ = block.indices(graph.edge_index.shape[1] // degree)
        source, anchor = graph.edge_index[:, first * degree : last * degree]
        unit = l2_normalize(x[source] - x[anchor]).unflatten(0, (last - first, degree))
        with torch.autocast(x.device.type, enabled=False):
            return (unit @ unit.transpose(1, 2)).flatten()


def _of_unequal_degrees(x: Tensor, edge_index: Tensor, first: int, last: int) -> Tensor:
    source, target = edge_index
    chosen = (target >= first) & (target < last)
    source, anchor = source[chosen], target[chosen]
    anchor, order = anchor.sort(stable=True)
    source = source[order]
    # The neighbours of one anchor are one row: unequal degrees leave gaps, which are taken out below.
    unit, exists = to_dense_batch(l2_normalize(x[source] - x[anchor]), anchor - first, batch_size=last - first)
    with torch.autocast(x.device.type, enabled=False):
        cosine = unit @ unit.transpose(1, 2)
    pair = exists.unsqueeze(1) & exists.unsqueeze(2)
    return cosine.flatten() if bool(exists.all()) else cosine[pair]


def _check_size(graph: Data) -> None:
    if layout := layout_of(graph):
        smallest = graph.num_nodes // layout.graphs
    else:
        numbers, graphs = graph_numbers(graph)
        sizes = torch.tensor([graph.num_nodes]) if numbers is None else torch.bincount(numbers, minlength=graphs)
        smallest = int(sizes[sizes > 0].min())  # one without nodes has no angles and asks for none
    require(
        smallest >= 3,
        f"angles on a graph of {smallest} nodes: an angle needs an anchor and two others; "
        "choose batches of at least 3 images, or at least 3 tokens an image",
    )
