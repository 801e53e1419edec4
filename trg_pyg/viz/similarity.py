"""How one token of an image sees the others."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import require
from trg_pyg.graphs.batch import node_batch, replace_nodes
from trg_pyg.losses.contextual import ContextualLoss
from trg_pyg.tokens.normalize import l2_normalize
from trg_pyg.viz.drawing import COLOURS, dimmed, importing_matplotlib


def cosine_similarity(tokens: Tensor, token: int) -> Tensor:
    """Return the cosine of the angle between one token and each token, itself included.

    Args:
        tokens: ``[N, D]``; one that is zero has cosine 0 with all.
        token: its number.

    Returns:
        ``[N]``, in [-1, 1].

    Raises:
        InputError: there is no such token.
    """
    _check(tokens, token)
    unit = l2_normalize(tokens)
    return unit @ unit[token]


def contextual_similarity(tokens: Tensor, token: int, graph: Data | None = None) -> Tensor:
    r"""Return how one token sees the others in L_inner of TRG, a row of :class:`ContextualLoss`'s matrix.

    .. math:: CS_{i \cdot} = \mathrm{softmax}_j\big(f_i \cdot f_j / \sqrt{D}\big)

    Args:
        tokens: ``[N, D]``.
        token: i, its number.
        graph: softmax over the edges into the token (``inner_structure=graph``); by default over all N tokens, itself
            included (``dense``).

    Returns:
        Probabilities ``[N]``; NaN where the graph has no edge.

    Raises:
        InputError: there is no such token, or the graph has other numbers of nodes.
    """
    _check(tokens, token)
    loss = ContextualLoss("dense" if graph is None else "graph")
    seen = loss.all_tokens(node_batch(tokens.unsqueeze(0))) if graph is None else replace_nodes(graph, tokens)
    probability = loss.relation_student(seen)
    source, target = seen.edge_index
    row = tokens.new_full((len(tokens),), torch.nan)
    row[source[target == token]] = probability[target == token]
    return row


def draw_similarity(
    axes: Any,
    image: Tensor,
    values: Tensor,
    grid: tuple[int, int],
    token: int | None = None,
    norm: Any = None,
    opacity: float = 0.75,
) -> Any:
    """Draw a value of each token as the colour of its patch over the image, which is shown in grey.

    Args:
        axes: matplotlib's, to draw in.
        image: ``[C, H, W]``, uint8 or float in [0, 1].
        values: ``[rows * columns]``, row by row; patches of NaN stay bare.
        grid: rows and columns of tokens.
        token: number of a token that is framed.
        norm: matplotlib's ``Normalize`` of the values, to share a scale; by default from the least to the largest.
        opacity: of the colours over the image, in (0, 1].

    Returns:
        The image of the values, which a colour bar can be made of.

    Raises:
        InputError: there is not one value for each token; matplotlib is missing.
    """
    rows, columns = grid
    require(
        values.shape == (rows * columns,),
        f"{tuple(values.shape)} values for {rows}x{columns} tokens: give one for each, row by row",
    )
    height, width = image.shape[-2:]
    axes.imshow(dimmed(image), interpolation="nearest")
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    table = values.detach().cpu().view(rows, columns).numpy()
    shown = axes.imshow(table, extent=extent, cmap=COLOURS, norm=norm, alpha=opacity, interpolation="nearest")
    if token is not None:
        size = width / columns, height / rows
        corner = (token % columns) * size[0] - 0.5, (token // columns) * size[1] - 0.5
        with importing_matplotlib():
            from matplotlib.patches import Rectangle
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.8))
    axes.set_axis_off()
    return shown


def _check(tokens: Tensor, token: int) -> None:
    require(tokens.dim() == 2, f"tokens {tuple(tokens.shape)}: give those of one image, [tokens, width]")
    require(0 <= token < len(tokens), f"token {token}: the image has {len(tokens)}, counted from 0")
