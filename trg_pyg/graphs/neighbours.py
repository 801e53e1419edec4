"""Exact k nearest neighbours by Euclidean distance."""

from math import isqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

from trg_pyg._transfer import can_look
from trg_pyg.errors import require
from trg_pyg.nn.blocks import chunk_rows, one_operation
from trg_pyg.tokens.normalize import full_precision

# Points that a processor compares with at once: they stay in its cache for all rows of a chunk. A GPU wants large
# products.
_TILE = {"cpu": 1024}
# From so many points on, and coordinates of all together, a processor does well to make each product once, in tiles of
# about this side, and to turn the tile round for the other half.
_HALVES, _COORDINATES, _SIDE = 512, 1 << 18, 256
# Distances that are looked at at once: as many as stay in a cache, and few enough for the cost of a call to disappear.
_ENTRIES = 1 << 20
# Columns that share a minimum: vectors reduce them fast, and they are copied as a whole.
_GROUP = 64
# Up to this many columns sorting them all is faster than choosing some.
_FEW_COLUMNS = 32


@torch.no_grad()
def nearest_neighbours(x: Tensor, k: int, *, rows: slice | None = None, chunk_bytes: int = 64 << 20) -> Tensor:
    """Find the k nearest other points of every point, or of some, exactly.

    One matrix product and one top-k per chunk of rows, and of many points on a CPU only half of the products; the full
    distance matrix never exists. Nothing here waits for a GPU. A point among more than k duplicates of itself still has
    exactly k neighbours, and the same input gives the same ones.

    Distances are compared in float32 (float64 for float64 input), whatever autocast says. A squared distance out of a
    product rounds at about 1e-7 of the squared norms: pairs that differ by less come in either order, pairs whose
    computed distances are equal by index.

    Args:
        x: B sets of N points, ``[B, N, D]``; neighbours are searched inside a set.
        k: number of neighbours, 1 <= k < N.
        rows: points of each set whose neighbours are wanted, from a first one to a last one; ``None`` for all N.
        chunk_bytes: largest block of distances held at a time, in bytes.

    Returns:
        Indices into the set, ``[B, N, k]``, int64, nearest first, never the point itself.

    Raises:
        InputError: there are no such points, or k is not in 1..N-1.
    """
    require(
        x.dim() == 3 and x.numel() > 0,
        f"points of shape {tuple(x.shape)}: give [sets, points, coordinates], none of them 0",
    )
    points = x.shape[1]
    require(
        1 <= k < points,
        f"K={k} neighbours of each of {points} tokens: a token has {points - 1} others; choose K from 1 to {points - 1}"
        if points > 1
        else f"K={k}: a graph of a single token has no neighbours; keep at least 2 tokens",
    )
    with torch.autocast(x.device.type, enabled=False):
        first, last, _ = (rows or slice(None)).indices(points)
        return _search(full_precision(x.detach()), k, first, last, chunk_bytes)


@one_operation(lambda x, k, first, last, chunk_bytes: x.new_empty(len(x), last - first, k, dtype=torch.long))
@torch.no_grad()
def _search(x: Tensor, k: int, first: int, last: int, chunk_bytes: int) -> Tensor:
    sets, points, _ = x.shape
    x = _centred(x)
    rows = x.flatten(0, 1)
    # In parts, since a large allocation costs as much as the pass over it.
    squares = [some.square().sum(-1) for some in rows.split(_TILE.get(x.device.type, len(rows)))]
    half_square = torch.cat(squares).view(sets, points).div_(2)
    per_block = _tiles_of_block(x, k, chunk_bytes) if last - first == points else 0
    if per_block:
        return torch.stack([_by_halves(*each, k, per_block) for each in zip(x, half_square, strict=True)])
    columns = -(-points // _GROUP) * _GROUP if points >= _HALVES else points
    # Columns that only fill up the last group are infinitely far from everything.
    others = (pad(x, (0, 0, 0, columns - points)) if columns > points else x).transpose(1, 2)
    offset = pad(half_square, (0, columns - points), value=torch.inf)
    width = _TILE.get(x.device.type, columns)
    row_step = min(last - first, chunk_rows(x, columns, chunk_bytes))
    # Whole sets at a time, where a chunk has room for them.
    whole = chunk_bytes // (points * columns * x.element_size())
    set_step = min(max(1, whole), sets) if row_step == last - first else 1
    # One block for all chunks, for the same reason.
    block = x.new_empty(set_step, row_step, columns)
    neighbours = torch.empty(sets, last - first, k, dtype=torch.long, device=x.device)
    for s in range(0, sets, set_step):
        some = slice(s, s + set_step)
        for r in range(first, last, row_step):
            queries = x[some, r : min(r + row_step, last)]
            score = block[: queries.shape[0], : queries.shape[1]]
            for c in range(0, columns, width):
                tile = score[..., c : c + width]
                _half_squares(offset[some, c : c + width], queries, others[some, :, c : c + width], out=tile)
                if -width < c - r < row_step:
                    tile.diagonal(r - c, dim1=1, dim2=2).fill_(torch.inf)
            neighbours[some, r - first : r - first + row_step] = _k_smallest(score, k)
    # Only where the input is not finite, and nothing is near anything, is a column chosen that is no point.
    return neighbours.clamp_max_(points - 1)


def _tiles_of_block(x: Tensor, k: int, chunk_bytes: int) -> int:
    """Return how many tiles of products fit in a row of a square block; 0 where chunks of rows are better."""
    points, width = x.shape[1], isqrt(chunk_bytes // x.element_size())
    # The last block may be of a single tile.
    few = min(points, width) < _HALVES or x[0].numel() < _COORDINATES
    if x.device.type != "cpu" or few or k > _SIDE // 4:
        return 0
    tiles = -(-points // _SIDE)
    blocks = -(-tiles // (width // _SIDE))
    return -(-tiles // blocks)


def _by_halves(x: Tensor, half_square: Tensor, k: int, per_block: int) -> Tensor:
    """Search one set of points ``[N, D]`` by half of the products, which are the other half's too.

    Points come in groups, and a tile has the products of two of them. Square blocks of tiles are made one after
    another; what is near a point among those of one block is compared across blocks in the end.
    """
    count = -(-len(x) // _SIDE)
    side = -(-len(x) // (count * _GROUP)) * _GROUP
    fill = count * side - len(x)
    points = pad(x, (0, 0, 0, fill)).view(count, side, -1)
    opposite, offset = points.neg(), pad(half_square, (0, fill), value=torch.inf).view(count, side)
    block, turned = x.new_empty(per_block, per_block, side, side), x.new_empty(side, side)
    together = max(1, _ENTRIES // (side * per_block * side))
    score = x.new_empty(together * side * per_block * side)

    def look(groups: range, others: range) -> None:
        """Find the values and numbers of the k nearest of other groups to each point of some groups."""
        for some in (groups[at : at + together] for at in range(0, len(groups), together)):
            within = score[: len(some) * side * len(others) * side].view(len(some), side, len(others), side)
            for group, part in zip(some, within, strict=True):
                for place, other in enumerate(others):
                    low, high = sorted((group, other))
                    tile = block[low % per_block, high % per_block]
                    # Half of the squared distances, without what is the same along a row.
                    torch.add(tile if group == low else turned.copy_(tile.T), offset[other], out=part[:, place])
                    if group == other:
                        part[:, place].fill_diagonal_(torch.inf)
            rows = within.view(len(some) * side, -1)
            index = _k_smallest(rows, k)
            values, index = rows.gather(-1, index).split(side), (index + others.start * side).split(side)
            for group, *nearest in zip(some, values, index, strict=True):
                found[group].append(nearest)

    found: list[list[list[Tensor]]] = [[] for _ in range(count)]
    blocks = [range(start, min(start + per_block, count)) for start in range(0, count, per_block)]
    for i, some in enumerate(blocks):
        for others in blocks[i:]:
            for group in some:
                for other in range(max(group, others.start), others.stop):
                    out = block[group % per_block, other % per_block]
                    torch.mm(opposite[group], points[other].T, out=out)
            look(some, others)
            if others is not some:
                look(others, some)
    chosen = []
    for parts in found:  # in the order of their numbers, so that a stable sort keeps that of ties
        values, index = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
        chosen.append(index.gather(1, values.sort(dim=1, stable=True).indices[:, :k]) if len(parts) > 1 else index)
    return torch.cat(chosen)[: len(x)].clamp_max_(len(x) - 1)


def _half_squares(offset: Tensor, queries: Tensor, others: Tensor, out: Tensor) -> None:
    """Write |a - b|^2 / 2 without |a|^2 / 2, which is the same along a row and changes no order."""
    if len(queries) == 1:
        torch.addmm(offset[0], queries[0], others[0], alpha=-1, out=out[0])
    else:
        torch.baddbmm(offset.unsqueeze(1), queries, others, alpha=-1, out=out)


def _centred(x: Tensor) -> Tensor:
    """Move each set to the origin and scale it to a size near 1: the order of distances stays.

    Small coordinates round less, and nothing overflows. The scale is a power of two and the move a multiple of it, so
    that points on a coarse grid, such as integers, stay on one and their ties stay exact.
    """
    mean = x.mean(dim=1, keepdim=True)
    # Of the farthest points on both sides, and not of a copy of all.
    spread = torch.maximum(x.amax(1, keepdim=True) - mean, mean - x.amin(1, keepdim=True)).amax(2, keepdim=True)
    step = torch.where(spread > 0, spread, 1.0).log2().floor().exp2()
    return (x / step).sub_((mean / step).round())


def _smallest(score: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Values, ascending, and indices of the ``count`` smallest entries along the last axis.

    Top-k is slow next to a matrix product, and a minimum is fast. The m smallest entries lie in the m groups whose
    minima are smallest.

    Args:
        score: ``[B, R, C]`` or ``[R, C]``, contiguous.
        count: at most C.
    """
    *rows, columns = score.shape
    groups = columns // _GROUP
    if columns % _GROUP or groups < 2 * count:
        values, index = score.topk(count, largest=False)
        return values, index
    near = score.unflatten(-1, (groups, _GROUP)).amin(-1).topk(count, largest=False, sorted=False).indices
    first = torch.arange(0, score.numel() // _GROUP, groups, device=score.device).view(*rows, 1)
    candidates = score.view(-1, _GROUP).index_select(0, (near + first).flatten()).view(*rows, count * _GROUP)
    values, place = candidates.topk(count, largest=False)
    return values, near.gather(-1, place // _GROUP) * _GROUP + place % _GROUP


def _k_smallest(score: Tensor, k: int) -> Tensor:
    """Indices of the k smallest entries along the last axis, ordered by (value, index); see :func:`_smallest`."""
    if score.shape[-1] <= _FEW_COLUMNS:
        return score.sort(dim=-1, stable=True).indices[..., :k]
    values, index = _smallest(score, k + 1)
    kth = values[..., k - 1 : k]
    if not can_look(score):
        return _k_smallest_among_ties(score, kth, k)
    index = index[..., :k].contiguous()
    # top-k may return any of several equal entries, in any order; rows that have such are rare and chosen again.
    tied = (values[..., 1:] == values[..., :-1]).any(-1)
    if tied.any():
        index[tied] = _k_smallest_among_ties(score[tied], kth[tied], k)
    return index


def _k_smallest_among_ties(score: Tensor, kth: Tensor, k: int) -> Tensor:
    """The same for rows ``[..., N]``, whatever values are equal, without a question to the device; linear in N.

    Args:
        score: the rows.
        kth: their k-th smallest values, ``[..., 1]``.
        k: how many.
    """
    below, equal = score < kth, score == kth
    room = k - below.sum(-1, keepdim=True)
    chosen = below | (equal & (equal.cumsum(-1, dtype=torch.int32) <= room))
    # The j-th one that is chosen is the first before which, itself included, j are.
    ranks = torch.arange(1, k + 1, dtype=torch.int32, device=score.device).expand(*score.shape[:-1], k).contiguous()
    index = torch.searchsorted(chosen.cumsum(-1, dtype=torch.int32), ranks).clamp_max_(score.shape[-1] - 1)
    return index.gather(-1, score.gather(-1, index).argsort(dim=-1, stable=True))
