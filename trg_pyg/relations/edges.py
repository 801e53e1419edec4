"""What joins the two ends of an edge, in memory that does not grow with edges times width.

Gathering both ends of all edges makes tensors of ``[E, D]``, K times the tokens themselves, several of them, and again
for the backward pass. Here the edges are taken in blocks that stay in a processor's cache.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trg_pyg.nn.blocks import add_rows, edge_blocks, is_dense, one_operation, pair_index

# Share of the two squared lengths up to which a squared distance out of a product in double precision may be rounding:
# nodes that differ by the last bits of a float32.
_ROUNDING = 2.0**-44


def squared_distances(x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
    """Squared Euclidean length of each edge, exactly 0 between duplicates.

    From differences; but float32 graphs that have most of their possible edges, none twice, take them from a matrix
    product in double precision, in which even nodes near each other leave digits enough, and have no distance where
    they differ by the last bits alone.

    Args:
        x: node features ``[M, D]``.
        edge_index: ``[2, E]``.
        num_graphs: number of graphs of equal size that the nodes form; no edge joins two of them.

    Returns:
        ``[E]``, differentiable once with respect to ``x``.
    """
    has_wider = x.dtype == torch.float32 and x.device.type != "mps"
    if has_wider and is_dense(len(x), edge_index, num_graphs):
        return _DenseSquaredDistances.apply(x, edge_index, num_graphs)
    return _Lengths.apply(x, edge_index, True)


def absolute_distances(x: Tensor, edge_index: Tensor) -> Tensor:
    """City-block length of each edge.

    Args:
        x: node features ``[M, D]``.
        edge_index: ``[2, E]``.

    Returns:
        ``[E]``, differentiable once with respect to ``x``; equal coordinates pass no gradient.
    """
    return _Lengths.apply(x, edge_index, False)


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
    if not is_dense(len(x), edge_index, num_graphs):
        return _DotProducts.apply(x, edge_index)
    graphs = x.reshape(num_graphs, x.shape[0] // num_graphs, x.shape[1])
    with torch.autocast(x.device.type, enabled=False):
        products = graphs @ graphs.transpose(1, 2)
    return products.view(-1).index_select(0, pair_index(edge_index, graphs.shape[1]))


@one_operation(lambda x, edge_index, squared: x.new_empty(edge_index.shape[1]))
def _lengths(x: Tensor, edge_index: Tensor, squared: bool) -> Tensor:
    out = x.new_empty(edge_index.shape[1])
    for block, source, target in edge_blocks(x, edge_index):
        difference = x.index_select(0, source).sub_(x.index_select(0, target))
        torch.sum(difference.square_() if squared else difference.abs_(), dim=1, out=out[block])
    return out


@one_operation(lambda x, edge_index, grad, squared: x.new_empty(x.shape))
def _length_gradient(x: Tensor, edge_index: Tensor, grad: Tensor, squared: bool) -> Tensor:
    total, grad = x.new_zeros(x.shape), 2 * grad if squared else grad
    for block, source, target in edge_blocks(x, edge_index):
        difference = x.index_select(0, source).sub_(x.index_select(0, target))
        slope = difference if squared else difference.sign_()
        slope.mul_(grad[block, None])
        add_rows(total, source, slope)
        add_rows(total, target, slope.neg_())
    return total


class _Lengths(torch.autograd.Function):
    """Sums over the coordinates of an edge's difference: of their squares, or of their absolute values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor, squared: bool) -> Tensor:
        ctx.save_for_backward(x, edge_index)
        ctx.squared = squared
        return _lengths(x, edge_index, squared)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, edge_index = ctx.saved_tensors
        return _length_gradient(x, edge_index, grad, ctx.squared), None, None


class _DenseSquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor, num_graphs: int) -> Tensor:
        graphs = x.view(num_graphs, x.shape[0] // num_graphs, x.shape[1]).double()
        place = pair_index(edge_index, graphs.shape[1])
        # Around their mean nodes are short, and short ones round less.
        centred = graphs - graphs.mean(1, keepdim=True)
        norm = centred.square().sum(-1)
        both = norm.unsqueeze(1) + norm.unsqueeze(2)
        with torch.autocast(x.device.type, enabled=False):
            pairs = torch.baddbmm(both, centred, centred.transpose(1, 2), alpha=-2)
        pairs = torch.where(pairs > _ROUNDING * both, pairs, 0.0)
        ctx.save_for_backward(centred, place, pairs > 0)
        return pairs.view(-1).index_select(0, place).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        centred, place, apart = ctx.saved_tensors
        weight = centred.new_zeros(apart.numel()).index_add_(0, place, grad.double()).view_as(apart) * apart
        weight = weight + weight.transpose(1, 2)
        with torch.autocast(centred.device.type, enabled=False):
            grad_x = torch.baddbmm(weight.sum(2, keepdim=True) * centred, weight, centred, alpha=-1).mul_(2)
        return grad_x.flatten(0, 1).to(grad.dtype), None, None


@one_operation(lambda x, edge_index: x.new_empty(edge_index.shape[1]))
def _products(x: Tensor, edge_index: Tensor) -> Tensor:
    out = x.new_empty(edge_index.shape[1])
    for block, source, target in edge_blocks(x, edge_index):
        torch.sum(x.index_select(0, source).mul_(x.index_select(0, target)), dim=1, out=out[block])
    return out


@one_operation(lambda x, edge_index, grad: x.new_empty(x.shape))
def _product_gradient(x: Tensor, edge_index: Tensor, grad: Tensor) -> Tensor:
    total = x.new_zeros(x.shape)
    for block, source, target in edge_blocks(x, edge_index):
        weight = grad[block, None]
        add_rows(total, target, x.index_select(0, source).mul_(weight))
        add_rows(total, source, x.index_select(0, target).mul_(weight))
    return total


class _DotProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor) -> Tensor:
        ctx.save_for_backward(x, edge_index)
        return _products(x, edge_index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _product_gradient(*ctx.saved_tensors, grad), None
