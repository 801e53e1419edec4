"""What pictures of token graphs have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import InputError, require

# Perceptually uniform, and readable by the colour blind.
COLOURS = "viridis"
# Points of the line that stands for an edge.
_POINTS = 17
# How far an edge bends, as a share of its length.
_BEND = 0.18
# Of what the teacher has too, and of what it has not: told apart by the colour blind, and in grey by dashes.
SHARED, OWN = "#3ddbc0", "#ff9f40"
_THIN, _THICK = 1.1, 2.6


@contextmanager
def importing_matplotlib() -> Iterator[None]:
    """Import parts of matplotlib, which is an optional extra, in the body.

    Raises:
        InputError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(f"pictures need matplotlib ({error}): pip install 'trg_pyg[lab]'") from error


def in_legend(name: str) -> str:
    """Return a name as a legend shows it: of one that begins with an underscore matplotlib makes no entry."""
    return f"\u200b{name}" if name.startswith("_") else name


def pixels_of(image: Tensor) -> Any:
    """Return an image ``[C, H, W]``, uint8 or float in [0, 1], as an array ``[H, W, 3]``.

    Of other than three channels the mean is shown, in grey.

    Raises:
        InputError: it has another shape.
    """
    require(image.dim() == 3 and min(image.shape) > 0, f"image {tuple(image.shape)}: give [channels, height, width]")
    if image.shape[0] != 3:
        image = image.float().mean(0, keepdim=True).to(image.dtype).expand(3, -1, -1)
    return image.detach().cpu().permute(1, 2, 0).numpy()


def dimmed(image: Tensor) -> Any:
    """Return an image in dim grey, on which light and dark colours stand out, as an array ``[H, W, 3]``."""
    scaled = image.detach().cpu().float() / (255 if image.dtype == torch.uint8 else 1)
    grey = scaled.mean(0, keepdim=True).expand(3, -1, -1)
    return pixels_of(0.2 + 0.42 * grey)


def faded(image: Tensor) -> Any:
    """Return an image in half its brightness, to know it by beside what is bright, as an array ``[H, W, 3]``."""
    return 0.5 * pixels_of(image) / (255 if image.dtype == torch.uint8 else 1)


def patch_centres(grid: tuple[int, int], height: int, width: int) -> Tensor:
    """Return the centres of the patches that a token grid cuts an image in.

    Args:
        grid: rows and columns of tokens.
        height: of the image, in pixels.
        width: of the image.

    Returns:
        x and y in pixels, row by row of the grid, ``[rows * columns, 2]``; (0, 0) is the centre of the first pixel.
    """
    rows, columns = grid
    y = (torch.arange(rows) + 0.5) * (height / rows) - 0.5
    x = (torch.arange(columns) + 0.5) * (width / columns) - 0.5
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)


def check_positions(positions: Tensor | None, nodes: int, grid: tuple[int, int]) -> Tensor:
    """Return where each node of a graph is on the grid of its image, ``[nodes]``.

    Raises:
        InputError: there is not one position for each node, or one is outside the grid.
    """
    tokens = grid[0] * grid[1]
    if positions is None:
        require(
            nodes % tokens == 0,
            f"{nodes} nodes on grids of {grid[0]}x{grid[1]} tokens: give the positions of those that were sampled",
        )
        return torch.arange(tokens).repeat(nodes // tokens)
    flat = positions.detach().cpu().flatten()
    require(len(flat) == nodes, f"{len(flat)} positions for {nodes} nodes: give one for each")
    require(
        bool(((flat >= 0) & (flat < tokens)).all()),
        f"positions from {int(flat.min())} to {int(flat.max())} on a grid of {grid[0]}x{grid[1]}: they count from 0 to "
        f"{tokens - 1}, row by row",
    )
    return flat


def arcs(starts: Tensor, ends: Tensor) -> Tensor:
    """Return flat curves from point to point, each bent to the same side as seen from its start.

    Edges along a row of the grid would hide one another if they were straight, and so would an edge and its reverse.

    Args:
        starts: ``[E, 2]``.
        ends: ``[E, 2]``.

    Returns:
        Points ``[E, P, 2]``; the first and the last of each curve are its start and end.
    """
    along = ends - starts
    aside = torch.stack([along[:, 1], -along[:, 0]], dim=1)
    middle = (starts + ends) / 2 + _BEND * aside
    t = torch.linspace(0, 1, _POINTS).view(1, -1, 1)
    a, m, b = (point.unsqueeze(1) for point in (starts, middle, ends))
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * m + t**2 * b


def weight_norm(*weights: Tensor) -> Any:
    """Return one scale of colours for the edges of several graphs, from the least weight to the largest.

    Args:
        weights: ``[E]`` of each graph.

    Raises:
        InputError: there are no edges at all.
    """
    every = torch.cat([each.detach().cpu().flatten() for each in weights])
    require(len(every) > 0, "no edges: there is nothing to give a colour to")
    least, most = every.min().item(), every.max().item()
    with importing_matplotlib():
        from matplotlib.colors import Normalize
    return Normalize(least, most if most > least else least + 1e-6)


def edge_weights(graph: Data) -> Tensor:
    """Return the weights of a graph's edges, ``[E]``; edges without a weight count as 1."""
    if graph.edge_weight is None:
        return torch.ones(graph.edge_index.shape[1], device=graph.edge_index.device)
    return graph.edge_weight.detach()


def strong_lines(graph: Data, best: int, edges: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return few strong edges of a graph: of each token the heaviest into it, an edge and its reverse as one line.

    Args:
        graph: with ``edge_index``; of equal weights the earlier edges count as heavier.
        best: edges of a token at most, >= 1.
        edges: numbers of those to choose among; by default all.

    Returns:
        Numbers of edges, int64, and for each whether both of its tokens have the other among their best.

    Raises:
        InputError: ``best`` is below 1.
    """
    require(best >= 1, f"best={best}: give 1 or more, or None for all")
    chosen = torch.arange(graph.edge_index.shape[1], device=graph.edge_index.device) if edges is None else edges
    order = chosen[edge_weights(graph)[chosen].argsort(descending=True, stable=True)]
    order = order[graph.edge_index[1, order].argsort(stable=True)]  # by token, the heaviest first
    each = graph.edge_index[1, order].unique_consecutive(return_counts=True)[1]
    rank = torch.arange(len(order), device=order.device) - (each.cumsum(0) - each).repeat_interleave(each)
    chosen = order[rank < best].sort().values
    source, target = graph.edge_index[:, chosen]
    nodes = int(graph.num_nodes)
    mutual = torch.isin(target * nodes + source, source * nodes + target)
    kept = ~mutual | (source < target)
    return chosen[kept], mutual[kept]


def joined_too(graph: Data, edges: Tensor, other: Data, others: Tensor) -> Tensor:
    """Return which edges of a graph join two tokens that edges of another graph of the same nodes join too, either way.

    Args:
        graph: a graph.
        edges: numbers of its edges, ``[L]``.
        other: the other graph.
        others: numbers of its edges.

    Returns:
        bool ``[L]``.
    """
    ends = [each.edge_index[:, numbers] for each, numbers in ((graph, edges), (other, others))]
    return torch.isin(*(pair.min(0).values * int(graph.num_nodes) + pair.max(0).values for pair in ends))


def draw_edges(
    axes: Any,
    starts: Tensor,
    ends: Tensor,
    weights: Tensor,
    norm: Any,
    *,
    thick: Tensor | None = None,
    shared: Tensor | None = None,
) -> Any:
    """Draw edges as curves, the heaviest on top, and return the ``LineCollection``.

    The collection has one line an edge, in the order of their weights.

    Args:
        axes: matplotlib's, to draw in.
        starts: ``[E, 2]``.
        ends: ``[E, 2]``.
        weights: ``[E]``.
        norm: scale of the weights, by which edges have their colours.
        thick: ``[E]``, bool: edges that are drawn thicker.
        shared: ``[E]``, bool: edges that the teacher has too. With it they have one colour, and the others another and
            dashes, in place of the weight's.
    """
    with importing_matplotlib():
        from matplotlib.collections import LineCollection
        from matplotlib.patheffects import Normal, Stroke
    order = weights.detach().cpu().argsort(stable=True)
    wide = [_THICK if each else _THIN for each in thick[order].tolist()] if thick is not None else [_THIN] * len(order)
    look: dict[str, Any] = {"array": weights.detach().cpu()[order].numpy(), "cmap": COLOURS, "norm": norm}
    if shared is not None:
        look = {
            "colors": [SHARED if each else OWN for each in shared[order].tolist()],
            "linestyles": ["-" if each else (0, (3, 1.2)) for each in shared[order].tolist()],
        }
    lines = LineCollection(
        list(arcs(starts[order], ends[order]).numpy()),
        linewidths=wide,
        path_effects=[Stroke(linewidth=2.0, foreground="black", alpha=0.35), Normal()] if thick is None else None,
        **look,
    )
    axes.add_collection(lines, autolim=False)
    return lines
