"""Graph builders: from tokens or images to PyG graphs."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.graphs.batch import (
    detach_graph,
    forget_parts,
    graph_sizes,
    join_graphs,
    make_batch,
    node_batch,
    plain_batch,
    replace_nodes,
    set_edges,
    set_layout,
    with_features,
)
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.graphs.given import GivenGraph
from trg_pyg.graphs.grid import GridGraph
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.label import LabelGraph
from trg_pyg.graphs.layers import LayerGraph
from trg_pyg.graphs.neighbours import nearest_neighbours
from trg_pyg.graphs.recall import chance_recall, corrected_recall, edge_recall
from trg_pyg.graphs.token_graphs import TokenGraphs

__all__ = [
    "CompleteGraph",
    "GivenGraph",
    "GraphBuilder",
    "GridGraph",
    "KNNGraph",
    "LabelGraph",
    "LayerGraph",
    "TokenGraphs",
    "chance_recall",
    "corrected_recall",
    "detach_graph",
    "edge_recall",
    "forget_parts",
    "graph_sizes",
    "join_graphs",
    "make_batch",
    "nearest_neighbours",
    "node_batch",
    "plain_batch",
    "replace_nodes",
    "set_edges",
    "set_layout",
    "with_features",
]
