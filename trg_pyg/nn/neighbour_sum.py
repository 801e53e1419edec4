"""Weighted sum over the neighbours of every node, in memory that does not grow with edges times width."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trg_pyg.nn.blocks import add_rows, edge_blocks, is_dense, pair_index


def neighbour_sum(x: Tensor, edge_index: Tensor, edge_weight: Tensor, num_graphs: int = 1) -> Tensor:
    r"""Sum what the edges into each node carry.

    .. math:: y_i = \sum_{j \to i} A_{ji} x_j

    The messages of all edges, ``[E, D]``, never exist together, and none is kept for the backward pass. Graphs that
    have most of their possible edges take one matrix product instead.

    Args:
        x: node features ``[M, D]``.
        edge_index: ``[2, E]``, in any order.
        edge_weight: ``[E]``, of the type of ``x``.
        num_graphs: number of graphs of equal size that the nodes form; no edge joins two of them.

    Returns:
        ``[M, D]``, 0 for a node without incoming edges; differentiable once with respect to ``x`` and ``edge_weight``.
    """
    if not is_dense(len(x), edge_index, num_graphs):
        out: Tensor = _NeighbourSum.apply(x, edge_index, edge_weight)
        return out
    graphs = x.reshape(num_graphs, len(x) // num_graphs, x.shape[1])
    nodes = graphs.shape[1]
    adjacency = edge_weight.new_zeros(len(x) * nodes).index_add(0, pair_index(edge_index, nodes), edge_weight)
    with torch.autocast(x.device.type, enabled=False):
        return (adjacency.view(num_graphs, nodes, nodes) @ graphs).view_as(x)


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, edge_index, edge_weight)
        out = torch.zeros_like(x)
        for block, source, target in edge_blocks(x, edge_index):
            add_rows(out, target, x.index_select(0, source).mul_(edge_weight[block, None]))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        x, edge_index, edge_weight = ctx.saved_tensors
        grad_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = torch.empty_like(edge_weight) if ctx.needs_input_grad[2] else None
        for block, source, target in edge_blocks(x, edge_index):
            arriving = grad.index_select(0, target)
            if grad_weight is not None:
                torch.sum(x.index_select(0, source).mul_(arriving), dim=1, out=grad_weight[block])
            if grad_x is not None:
                add_rows(grad_x, source, arriving.mul_(edge_weight[block, None]))
        return grad_x, None, grad_weight
