"""What an edge or a node of a graph stands for: a differentiable function of the graph."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.relations.angle import Angle
from trg_pyg.relations.base import (
    EdgeRelation,
    Layout,
    PlainGraph,
    Relation,
    check_graph,
    check_kind,
    degree_of,
    equal_graphs,
    features_of,
    graph_numbers,
    graph_starts,
    layout_of,
    weights_of,
    with_attributes,
)
from trg_pyg.relations.carried import GivenWeight, NodeFeatures
from trg_pyg.relations.edges import absolute_distances, dot_products, squared_distances
from trg_pyg.relations.kernels import Cosine, Distance, DotProduct, Gaussian, Laplace, TaylorGaussian
from trg_pyg.relations.scaled import Scaled
from trg_pyg.relations.softmax import Softmax, SparseRows, segment_log_softmax

__all__ = [
    "Angle",
    "Cosine",
    "Distance",
    "DotProduct",
    "EdgeRelation",
    "Gaussian",
    "GivenWeight",
    "Laplace",
    "Layout",
    "NodeFeatures",
    "PlainGraph",
    "Relation",
    "Scaled",
    "Softmax",
    "SparseRows",
    "TaylorGaussian",
    "absolute_distances",
    "check_graph",
    "check_kind",
    "degree_of",
    "dot_products",
    "equal_graphs",
    "features_of",
    "graph_numbers",
    "graph_starts",
    "layout_of",
    "segment_log_softmax",
    "squared_distances",
    "weights_of",
    "with_attributes",
]
