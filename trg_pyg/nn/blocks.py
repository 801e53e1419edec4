"""Edges and rows in blocks, so that what is made of them never exists as a whole; or edges as matrices."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from torch import Tensor

# Small enough for a cache, large enough for the cost of a call to disappear. A GPU wants few, large blocks.
_BLOCK_BYTES = {"cpu": 1 << 20}
_LARGE_BLOCK_BYTES = 256 << 20
# Share of all pairs of nodes from which on matrices of all pairs pay: their size is then of the order of the edges.
_DENSE_SHARE = 0.25
# More rows make a processor's matrix product no faster, and push the chunk out of its cache. A GPU wants large chunks.
_MOST_ROWS = {"cpu": 1024}


def edge_blocks(x: Tensor, edge_index: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of edges, each so small that the features at one end of them stay in a processor's cache.

    Args:
        x: node features ``[M, D]``.
        edge_index: ``[2, E]``.

    Yields:
        The place of the block among the edges, its sources and its targets.
    """
    block_bytes = _BLOCK_BYTES.get(x.device.type, _LARGE_BLOCK_BYTES)
    size = max(1, block_bytes // max(1, x.shape[1] * x.element_size()))
    for start in range(0, edge_index.shape[1], size):
        block = slice(start, start + size)
        yield block, edge_index[0, block], edge_index[1, block]


def add_rows(total: Tensor, row: Tensor, value: Tensor) -> None:
    """Add rows ``[E, D]`` to those rows ``[E]`` of ``total`` ``[M, D]``, in place."""
    # On a CPU this form runs several times faster than index_add_.
    total.scatter_add_(0, row.unsqueeze(1).expand_as(value), value)


def is_dense(nodes: int, edge_index: Tensor, num_graphs: int) -> bool:
    """Whether graphs of equal size have so many of their possible edges that matrices of all pairs are worth making."""
    pairs = nodes * (nodes // num_graphs)
    return pairs > 0 and edge_index.shape[1] >= _DENSE_SHARE * pairs


def pair_index(edge_index: Tensor, nodes: int) -> Tensor:
    """Return where the pair of an edge lies in the flattened matrices ``[G, N, N]`` of all pairs, target first.

    Args:
        edge_index: ``[2, E]``, within graphs of equal size.
        nodes: nodes N of a graph.
    """
    return edge_index[1] * nodes + edge_index[0] % nodes


def chunk_rows(like: Tensor, columns: int, chunk_bytes: int) -> int:
    """Return how many rows of a matrix that never exists as a whole are made at a time, at least 1.

    Args:
        like: a tensor of the matrix's type and device.
        columns: columns of the matrix.
        chunk_bytes: largest chunk, in bytes.
    """
    rows = max(1, chunk_bytes // (columns * like.element_size()))
    return min(rows, _MOST_ROWS.get(like.device.type, rows))


def one_operation(shape: Callable[..., Tensor]) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Make of a function one operation in code that is being compiled, where blocks would only be slower.

    Args:
        shape: takes the function's arguments and returns an empty tensor like its result, in memory too: a compiler may
            lay arguments out in another way, so that neither may have the layout of one.

    Returns:
        What decorates a function of tensors and numbers, typed, that returns a new tensor and needs no gradient.
    """

    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        operation: Any = torch.library.custom_op(f"trg_pyg::{function.__name__}", function, mutates_args=())
        operation.register_fake(shape)

        @wraps(function)
        def call(*args: Any) -> Tensor:
            result: Tensor = operation(*args) if torch.compiler.is_compiling() else function(*args)
            return result

        return call

    return decorate
