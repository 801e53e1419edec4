"""The nearest patches of one patch, in the order of their rank."""

from typing import Any

import numpy as np
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import require
from trg_pyg.viz.drawing import (
    SHARED,
    check_positions,
    edge_weights,
    faded,
    importing_matplotlib,
)


def ranked_neighbours(graph: Data, token: int, most: int | None = None) -> Tensor:
    """Return the nodes with an edge into a node, the heaviest edge first.

    Args:
        graph: with ``edge_index``, and ``edge_weight`` if edges have one; of equal weights the earlier come first.
        token: number of the node.
        most: neighbours at most; by default all.

    Returns:
        Numbers of nodes, int64.

    Raises:
        InputError: there is no such node.
    """
    require(0 <= token < int(graph.num_nodes), f"token {token}: the graph has {graph.num_nodes}, counted from 0")
    into = (graph.edge_index[1] == token).nonzero().flatten()
    order = edge_weights(graph)[into].argsort(descending=True, stable=True)
    return graph.edge_index[0, into[order[:most]]]


def draw_patch(axes: Any, image: Tensor, grid: tuple[int, int], place: int) -> None:
    """Draw an image dimmed but for the patch of one token, which has a white frame.

    Args:
        axes: matplotlib's, to draw in.
        image: ``[C, H, W]``, uint8 or float in [0, 1].
        grid: rows and columns of tokens that the image is cut in.
        place: of the token on the grid, row by row.
    """
    (row, column), (rows, columns) = divmod(place, grid[1]), grid
    height, width = image.shape[-2] / rows, image.shape[-1] / columns
    top, left = row * height, column * width
    with importing_matplotlib():
        from matplotlib.patches import Rectangle
    shown = faded(image)
    patch = np.s_[round(top) : round(top + height), round(left) : round(left + width)]
    shown[patch] *= 2
    axes.imshow(shown, interpolation="nearest")
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="white", linewidth=1.5))
    axes.set_axis_off()


def draw_neighbours(
    row: Any,
    images: Tensor,
    graph: Data,
    grid: tuple[int, int],
    token: int,
    *,
    teacher: Data | None = None,
) -> int:
    """Draw the nearest neighbours of a token, a panel each in the order of their rank: the patch, in its image dimmed.

    Args:
        row: matplotlib's axes, as many as neighbours are wanted; those that are left over stay empty.
        images: ``[B, C, H, W]``, uint8 or float in [0, 1], in the order of the graph's nodes.
        graph: of all tokens of the images, row by row of their grids.
        grid: rows and columns of tokens that an image is cut in.
        token: number of the node.
        teacher: the teacher's graph of the same nodes: hits, which are among as many nearest of its own, are framed
            in turquoise.

    Returns:
        How many hits there are.

    Raises:
        InputError: the graph is not of all tokens of these images; there is no such token; matplotlib is missing.
    """
    tokens = grid[0] * grid[1]
    check_positions(None, int(graph.num_nodes), grid)
    require(int(graph.num_nodes) == len(images) * tokens, f"{graph.num_nodes} nodes for {len(images)} images: give all")
    nearest = ranked_neighbours(graph, token, len(row)).tolist()
    wanted = set() if teacher is None else set(ranked_neighbours(teacher, token, len(row)).tolist())
    for axes in row[len(nearest) :]:
        axes.set_axis_off()
    for axes, node in zip(row, nearest, strict=False):
        draw_patch(axes, images[node // tokens], grid, node % tokens)
        if node in wanted:
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(edgecolor=SHARED, linewidth=4)
    return len(wanted.intersection(nearest))
