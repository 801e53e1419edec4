"""A token graph over its image."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import require
from trg_pyg.viz.drawing import (
    check_positions,
    dimmed,
    draw_edges,
    edge_weights,
    joined_too,
    patch_centres,
    strong_lines,
    weight_norm,
)


def draw_token_graph(
    axes: Any,
    image: Tensor,
    graph: Data,
    grid: tuple[int, int],
    positions: Tensor | None = None,
    norm: Any = None,
    *,
    best: int | None = None,
    teacher: Data | None = None,
) -> Any:
    """Draw the edges of an image's token graph over the image, from patch to patch, coloured by weight.

    The image is shown in dim grey. An edge bends to the left as seen from its source, so that its reverse is another
    line; edges without a weight count as 1.

    Args:
        axes: matplotlib's, to draw in.
        image: ``[C, H, W]``, uint8 or float in [0, 1].
        graph: of n nodes, with ``edge_index``, and ``edge_weight`` if edges have one.
        grid: rows and columns of tokens that the image is cut in.
        positions: place of each node on the grid, row by row, ``[n]``; by default the nodes are all tokens in order.
        norm: matplotlib's ``Normalize`` of the weights, to share a scale; by default from the least to the largest.
        best: draw of each token the ``best`` heaviest edges into it, those that are so both ways as one thick line;
            by default all edges, each a line.
        teacher: graph of the same nodes: lines that it has too are turquoise, and others orange and dashed, in place of
            the weights' colours; it needs ``best``, which is taken of both.

    Returns:
        The ``LineCollection`` of the edges, which a colour bar can be made of.

    Raises:
        InputError: the graph has no edges, or its nodes are not on the grid; ``teacher`` without ``best``; matplotlib
            is missing.
    """
    require(
        graph.edge_index is not None and graph.edge_index.shape[1] > 0,
        "a graph without edges: build it first, such as by KNNGraph",
    )
    require(teacher is None or best is not None, "a teacher to compare lines with: say how many by best")
    places = check_positions(positions, int(graph.num_nodes), grid)
    height, width = image.shape[-2:]
    points = patch_centres(grid, height, width)[places]
    edges, thick, shared = torch.arange(graph.edge_index.shape[1]), None, None
    if best is not None:
        edges, thick = strong_lines(graph, best)
        shared = None if teacher is None else joined_too(graph, edges, teacher, strong_lines(teacher, best)[0])
    source, target = graph.edge_index[:, edges].cpu()
    weights = edge_weights(graph)[edges]
    axes.imshow(dimmed(image), interpolation="nearest")
    scale = norm or weight_norm(weights)
    lines = draw_edges(axes, points[source], points[target], weights, scale, thick=thick, shared=shared)
    axes.scatter(*points.T.numpy(), s=9, c="white", edgecolors="black", linewidths=0.6, zorder=3)
    axes.set_axis_off()
    return lines
