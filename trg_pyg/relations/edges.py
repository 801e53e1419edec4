"""What joins the two ends of an edge, in memory that does not grow with edges times width.

Gathering both ends of all edges makes tensors of ``[E, D]``, K times the tokens themselves, several of them, and again
for the backward pass. Here the edges are taken in blocks that stay in a processor's cache.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Small enough for a cache, large enough for the cost of a call to disappear. A GPU wants few, large blocks.
_BLOCK_BYTES = {"cpu": 4 << 20}
_LARGE_BLOCK_BYTES = 256 << 20
# Share of all pairs of nodes from which on all dot products are made: their number is then of the order of the edges.
_DENSE_SHARE = 0.25


def squared_distances(x: Tensor, edge_index: Tensor) -> Tensor:
    """Squared Euclidean length of each edge, from differences: exactly 0 between duplicates.

    Args:
        x: node features ``[M, D]``.
        edge_index: ``[2, E]``.

    Returns:
        ``[E]``, differentiable once with respect to ``x``.
    """
    return _SquaredDistances.apply(x, edge_index)


def absolute_distances(x: Tensor, edge_index: Tensor) -> Tensor:
    """City-block length of each edge.

    Args:
        x: node features ``[M, D]``.
        edge_index: ``[2, E]``.

    Returns:
        ``[E]``, differentiable once with respect to ``x``; equal coordinates pass no gradient.
    """
    return _AbsoluteDistances.apply(x, edge_index)


def dot_products(x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
    """Dot product of the two ends of each edge.

    Graphs that have most of their possible edges are better off with all products: one matrix product instead of two
    gathers of ``[E, D]``.

    Args:
        x: node features ``[M, D]``.
        edge_index: ``[2, E]``.
        num_graphs: number of graphs of equal size that the nodes form; no edge joins two of them.

    Returns:
        ``[E]``, differentiable once with respect to ``x``.
    """
    nodes = x.shape[0] // num_graphs
    if edge_index.shape[1] < _DENSE_SHARE * x.shape[0] * nodes:
        return _DotProducts.apply(x, edge_index)
    graphs = x.reshape(num_graphs, nodes, x.shape[1])
    with torch.autocast(x.device.type, enabled=False):
        products = graphs @ graphs.transpose(1, 2)
    return products.view(-1)[edge_index[1] * nodes + edge_index[0] % nodes]


def _blocks(x: Tensor, edge_index: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of edges: their place, sources and targets."""
    block_bytes = _BLOCK_BYTES.get(x.device.type, _LARGE_BLOCK_BYTES)
    size = max(1, block_bytes // max(1, x.shape[1] * x.element_size()))
    for start in range(0, edge_index.shape[1], size):
        block = slice(start, start + size)
        yield block, edge_index[0, block], edge_index[1, block]


def _add(total: Tensor, row: Tensor, value: Tensor) -> None:
    # On a CPU this form runs several times faster than index_add_.
    total.scatter_add_(0, row.unsqueeze(1).expand_as(value), value)


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor) -> Tensor:
        ctx.save_for_backward(x, edge_index)
        out = x.new_empty(edge_index.shape[1])
        for block, source, target in _blocks(x, edge_index):
            difference = x.index_select(0, source).sub_(x.index_select(0, target))
            torch.sum(difference.square_(), dim=1, out=out[block])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, edge_index = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        for block, source, target in _blocks(x, edge_index):
            difference = x.index_select(0, source).sub_(x.index_select(0, target))
            difference.mul_(2 * grad[block, None])
            _add(grad_x, source, difference)
            _add(grad_x, target, difference.neg_())
        return grad_x, None


class _AbsoluteDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor) -> Tensor:
        ctx.save_for_backward(x, edge_index)
        out = x.new_empty(edge_index.shape[1])
        for block, source, target in _blocks(x, edge_index):
            difference = x.index_select(0, source).sub_(x.index_select(0, target))
            torch.sum(difference.abs_(), dim=1, out=out[block])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, edge_index = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        for block, source, target in _blocks(x, edge_index):
            sign = x.index_select(0, source).sub_(x.index_select(0, target)).sign_()
            sign.mul_(grad[block, None])
            _add(grad_x, source, sign)
            _add(grad_x, target, sign.neg_())
        return grad_x, None


class _DotProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor) -> Tensor:
        ctx.save_for_backward(x, edge_index)
        out = x.new_empty(edge_index.shape[1])
        for block, source, target in _blocks(x, edge_index):
            torch.sum(x.index_select(0, source).mul_(x.index_select(0, target)), dim=1, out=out[block])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, edge_index = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        for block, source, target in _blocks(x, edge_index):
            weight = grad[block, None]
            _add(grad_x, target, x.index_select(0, source).mul_(weight))
            _add(grad_x, source, x.index_select(0, target).mul_(weight))
        return grad_x, None
