"""Maps cut in patches, and a random choice of them, which bounds the size of the graph."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.errors import require


def check_patch(grid: Sequence[int], patch: int) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless ``patch`` x ``patch`` cells tile ``grid``, its last two axes."""
    height, width = grid[-2:]
    require(patch >= 1, f"patch={patch}: a patch has at least 1 x 1 cells")
    divisors = [p for p in range(1, min(height, width) + 1) if height % p == 0 and width % p == 0]
    require(
        patch in divisors,
        f"patch={patch} does not divide the {height}x{width} feature grid; "
        f"patch sizes that do: {', '.join(map(str, divisors))}",
    )


def patchify(feature_map: Tensor, patch: int = 1) -> Tensor:
    """Cut a feature map in square patches; each patch, flattened, is a token (TRG, arXiv 2306.12442).

    Args:
        feature_map: ``[B, C, H, W]``, or a volume ``[B, C, T, H, W]``, whose patches are of one time each.
        patch: edge p of a patch, in cells of the map.

    Returns:
        Tokens ``[B, (H / p)(W / p), C p^2]``, row by row; of a volume T times as many, time by time.

    Raises:
        InputError: there is no such map, or the patch does not divide the grid.
    """
    require(
        feature_map.dim() in (4, 5) and feature_map.numel() > 0,
        f"feature map {tuple(feature_map.shape)}: give [images, channels, height, width], none of them 0",
    )
    check_patch(feature_map.shape[2:], patch)
    if feature_map.dim() == 5:
        return rearrange(feature_map, "b c t (h p) (w q) -> b (t h w) (c p q)", p=patch, q=patch)
    return rearrange(feature_map, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def sample_positions(
    batch_size: int, num_tokens: int, sampled: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw token positions for every image, without replacement and independently of the other images.

    Args:
        batch_size: number of images B.
        num_tokens: tokens an image has, N.
        sampled: tokens to keep of each image, n.
        generator: CPU generator of the draw; it is not touched where n = N.
        device: where the positions are needed.

    Returns:
        Positions ``[B, n]``, int64, ascending in each row.

    Raises:
        InputError: n is not in 1..N.
    """
    require(
        1 <= sampled <= num_tokens,
        f"{sampled} tokens to sample of an image that has {num_tokens}; choose 1 to {num_tokens}, or all",
    )
    if sampled == num_tokens:
        return torch.arange(num_tokens, device=device).expand(batch_size, -1)
    order = torch.rand(batch_size, num_tokens, generator=generator).argsort(dim=1)
    return to_device(order[:, :sampled].sort(dim=1).values, torch.device(device))


def sample_present(present: Tensor, sampled: int, noise: Tensor) -> Tensor:
    """Choose tokens at random of those that are there, for texts that are padded to one length.

    Of an item with fewer than ``sampled`` tokens each is taken as often as another, or once more; of one with none the
    first place is taken.

    Args:
        present: which of the N tokens of each item are there and no padding, bool ``[B, N]``.
        sampled: tokens to take of each item, n >= 1.
        noise: uniform draws in [0, 1), ``[B, N]``.

    Returns:
        Positions ``[B, n]``, int64, ascending in each row.
    """
    order = noise.masked_fill(~present, 2.0).argsort(dim=1)
    count = present.sum(dim=1, keepdim=True).clamp(min=1)
    return order.gather(1, torch.arange(sampled, device=present.device) % count).sort(dim=1).values


def take_tokens(tokens: Tensor, positions: Tensor) -> Tensor:
    """Gather the tokens at ``positions``: ``[B, N, D]`` and ``[B, n]`` give ``[B, n, D]``."""
    images, each, _ = tokens.shape
    first = torch.arange(0, images * each, each, device=tokens.device).unsqueeze(1)
    # Whole rows: a gather along the axis of tokens goes number by number.
    return tokens.flatten(0, 1).index_select(0, (positions + first).flatten()).unflatten(0, positions.shape)
