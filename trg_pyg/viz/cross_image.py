"""Edges of a batch's token graph from image to image."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import require
from trg_pyg.viz.drawing import (
    check_positions,
    draw_edges,
    faded,
    joined_too,
    patch_centres,
    pixels_of,
    strong_lines,
    weight_norm,
)

# Room between thumbnails, as a share of their size.
_GAP = 0.25


def cross_image_edges(graph: Data, strongest: int | None = None) -> Tensor:
    """Return which edges of a batch's graph join tokens of two images, the heaviest first.

    Args:
        graph: with ``edge_index``, ``edge_weight`` and the node attribute ``image``, as builders with the scope
            ``"batch"`` make it.
        strongest: how many edges at most; by default all. Of equal weights the earlier edges come first.

    Returns:
        Numbers of edges, int64.

    Raises:
        InputError: the graph does not say which images its nodes are of, or how heavy its edges are.
    """
    require(
        "image" in graph and graph.edge_weight is not None,
        "the graph has no attribute image or no edge_weight: build it with scope=batch and a weight",
    )
    require(strongest is None or strongest >= 1, f"strongest={strongest}: give 1 or more, or None for all")
    source, target = graph.image[graph.edge_index]
    crossing = (source != target).nonzero().flatten()
    order = graph.edge_weight.detach()[crossing].argsort(descending=True, stable=True)
    return crossing[order[:strongest]]


def cross_image_lines(graph: Data, strongest: int | None = None) -> tuple[Tensor, Tensor]:
    """Return of each token the heaviest edge from another image, an edge and its reverse as one line, heaviest first.

    Args:
        graph: see :func:`cross_image_edges`.
        strongest: how many lines at most; by default all.

    Returns:
        Numbers of edges, int64, and for each whether both of its tokens have the other as their best.

    Raises:
        InputError: as :func:`cross_image_edges`.
    """
    lines, mutual = strong_lines(graph, 1, cross_image_edges(graph))
    order = graph.edge_weight.detach()[lines].argsort(descending=True, stable=True)[:strongest]
    return lines[order], mutual[order]


def draw_cross_image_graph(
    axes: Any,
    images: Tensor,
    graph: Data,
    grid: tuple[int, int],
    positions: Tensor | None = None,
    *,
    strongest: int = 60,
    labels: Sequence[str] | None = None,
    norm: Any = None,
    best: bool = False,
    teacher: Data | None = None,
) -> Any:
    """Draw images as thumbnails and the heaviest edges between them, from patch to patch, coloured by weight.

    Edges within an image are left out.

    Args:
        axes: matplotlib's, to draw in.
        images: ``[B, C, H, W]``, uint8 or float in [0, 1].
        graph: of all tokens of these images, see :func:`cross_image_edges`.
        grid: rows and columns of tokens that an image is cut in.
        positions: places of the nodes on the grids of their images, ``[B, n]``; by default all tokens in order.
        strongest: edges to draw at most.
        labels: to stand above the images.
        norm: matplotlib's ``Normalize`` of the weights, to share a scale; by default from the least to the largest.
        best: draw :func:`cross_image_lines`, those that are both ways thicker, over images that are dimmed.
        teacher: graph of the same nodes: lines that it has too are turquoise, and others orange and dashed, in place of
            the weights' colours; it needs ``best``. Its lines count whether they are drawn or too light.

    Returns:
        The ``LineCollection`` of the edges; ``None`` where no edge crosses.

    Raises:
        InputError: the graph is not of these images, or its nodes are not on the grids; matplotlib is missing.
    """
    require(teacher is None or best, "a teacher to compare lines with: set best")
    edges, thick = cross_image_lines(graph, strongest) if best else (cross_image_edges(graph, strongest), None)
    require(
        labels is None or len(labels) == len(images),
        f"{len(labels or ())} labels for {len(images)} images: give one each",
    )
    image = graph.image.cpu()
    require(
        int(image.max()) < len(images), f"{len(images)} images for a graph of {int(image.max()) + 1}: give all of them"
    )
    corners = thumbnail_corners(len(images), *images.shape[-2:])
    height, width = images.shape[-2:]
    for number, (left, top) in enumerate(corners.tolist()):
        axes.imshow(
            (faded if best else pixels_of)(images[number]),
            extent=(left - 0.5, left + width - 0.5, top + height - 0.5, top - 0.5),
            interpolation="nearest",
        )
        if labels is not None:
            axes.text(
                left + width / 2,
                top - 0.04 * height - 0.5,
                labels[number],
                ha="center",
                va="bottom",
                fontsize=8,
                zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )
    places = check_positions(positions, int(graph.num_nodes), grid)
    points = patch_centres(grid, height, width)[places] + corners[image]
    right, bottom = (corners.max(0).values + torch.tensor([width, height])).tolist()
    margin = _GAP * height / 2
    axes.set(xlim=(-margin, right + margin), ylim=(bottom + margin, -margin), aspect="equal")
    axes.set_axis_off()
    if len(edges) == 0:
        return None
    source, target = graph.edge_index.cpu()[:, edges.cpu()]
    weights = graph.edge_weight[edges]
    shared = None if teacher is None else joined_too(graph, edges, teacher, cross_image_lines(teacher)[0])
    scale = norm or weight_norm(weights)
    lines = draw_edges(axes, points[source], points[target], weights, scale, thick=thick, shared=shared)
    ends = points[torch.cat([source, target]).unique()]
    axes.scatter(*ends.T.numpy(), s=9, c="white", edgecolors="black", linewidths=0.6, zorder=3)
    return lines


def thumbnail_corners(images: int, height: int, width: int) -> Tensor:
    """Return where thumbnails lie that are laid out in rows, x and y of their first pixels, ``[images, 2]``."""
    columns = math.ceil(math.sqrt(images))
    number = torch.arange(images)
    gap = _GAP * height
    return torch.stack([(number % columns) * (width + gap), (number // columns) * (height + gap)], dim=1)
